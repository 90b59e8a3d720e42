// SPDX-License-Identifier: Apache-2.0

package replaybench

import (
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"
)

// asNodes is the notation of connections in GraphQL: each entry a node of an edge, with a cursor beside it.
func asNodes(v *value) (string, bool) {
	entries := &value{kind: 'l'}
	switch {
	case v.kind == 'l':
		entries.items = v.items
	case len(v.items) > 0 && v.items[0].kind == 'm': // by name
		for i, x := range v.items {
			if x.kind != 'm' {
				return "", false
			}
			entries.items = append(entries.items, &value{kind: 'm', keys: append([]string{"name"}, x.keys...),
				items: append([]*value{{kind: 's', text: v.keys[i]}}, x.items...)})
		}
	default:
		entries.items = []*value{v}
	}
	edges := &value{kind: 'l'}
	for i, x := range entries.items {
		edges.items = append(edges.items, &value{kind: 'm', keys: []string{"cursor", "node"},
			items: []*value{{kind: 's', text: fmt.Sprintf("Y3Vyc29yO%03d=", i)}, x}})
	}
	page := &value{kind: 'm', keys: []string{"hasNextPage", "endCursor"}, items: []*value{{kind: 'b', text: "false"}, {kind: 'z'}}}
	conn := &value{kind: 'm', keys: []string{"edges", "pageInfo", "totalCount"}, items: []*value{edges, page, {kind: '0', text: strconv.Itoa(len(edges.items))}}}
	inner := &value{kind: 'm', keys: []string{"viewer"}, items: []*value{{kind: 'm', keys: []string{"entries"}, items: []*value{conn}}}}
	return (&value{kind: 'm', keys: []string{"data"}, items: []*value{inner}}).json(), true
}

// asLogfmt writes an entry a line as key=value, quoted where it must be.
func asLogfmt(v *value) (string, bool) {
	head, rows, ok := v.rows()
	if !ok {
		return "", false
	}
	var b strings.Builder
	for _, r := range rows {
		for j, c := range r {
			if j > 0 {
				b.WriteByte(' ')
			}
			if c == "" || strings.ContainsAny(c, " =\"\n\t,{}[]") {
				c = strconv.Quote(c)
			}
			b.WriteString(head[j] + "=" + c)
		}
		b.WriteByte('\n')
	}
	return b.String(), true
}

// asBullets writes an entry as a heading and a bullet for each field, as reports in Markdown do.
func asBullets(v *value) (string, bool) {
	head, rows, ok := v.rows()
	if !ok {
		return "", false
	}
	var b strings.Builder
	fmt.Fprintf(&b, "## Results (%d)\n", len(rows))
	for i, r := range rows {
		fmt.Fprintf(&b, "\n### %d.\n", i+1)
		for j, c := range r {
			if c != "" {
				fmt.Fprintf(&b, "- **%s**: %s\n", head[j], strings.ReplaceAll(c, "\n", "\n  "))
			}
		}
	}
	return b.String(), true
}

// uuidOf is an id of a random form, the same for the same text.
func uuidOf(text string) string {
	h := fnv.New128a()
	_, _ = h.Write([]byte(text))
	s := h.Sum(nil)
	s[6], s[8] = s[6]&0x0f|0x40, s[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", s[:4], s[4:6], s[6:8], s[8:10], s[10:])
}

var (
	spanish = pairsOf(`recipient:destinatario recipients:destinatarios amount:importe subject:asunto body:cuerpo title:titulo
		participants:participantes sender:remitente content:contenido date:fecha email:correo filename:nombre_de_archivo owner:propietario
		shared_with:compartido_con start_time:inicio end_time:fin location:lugar description:descripcion price:precio rating:puntuacion
		reviews:opiniones product:producto order:pedido quantity:cantidad brand:marca category:categoria timestamp:marca_de_tiempo
		last_modified:modificado size:tamano id:identificador id_:identificador user:usuario channel:canal url:enlace file:archivo
		event:evento password:contrasena query:consulta city:ciudad hotel:alojamiento company:empresa path:ruta recurring:periodico
		attachments:adjuntos cc:copia bcc:copia_oculta permission:permiso restaurant:restaurante first_name:nombre last_name:apellido
		street:calle iban:cuenta_bancaria phone_number:telefono address:direccion name:nombre status:estado account:cuenta status:estado
		message:mensaje number:numero code:codigo total:suma item:articulo items:articulos`)
	japanese = pairsOf(`recipient:宛先 recipients:宛先一覧 amount:金額 subject:件名 body:本文 title:題名 participants:参加者 sender:差出人
		content:内容 date:日付 email:メール filename:ファイル名 owner:所有者 shared_with:共有先 start_time:開始時刻 end_time:終了時刻 location:場所
		description:説明 price:価格 rating:評価 reviews:口コミ product:商品 product_id:商品番号 order:注文 order_id:注文番号 quantity:数量
		brand:銘柄 category:分類 timestamp:時刻印 last_modified:更新日時 size:大きさ id:識別子 id_:識別子 user:利用者 user_id:利用者番号
		channel:チャンネル url:住所先 file:書類 file_id:書類番号 email_id:メール番号 event:予定 event_id:予定番号 password:暗証 query:検索語
		city:都市 hotel:宿 company:会社 path:経路 recurring:定期 attachments:添付 cc:写し bcc:隠し写し permission:権限 restaurant:飲食店
		first_name:名 last_name:姓 street:通り iban:口座番号 phone_number:電話番号 address:番地 name:名称 status:状態 account:口座 message:伝言
		number:番号 code:符号 total:合計 item:品目 items:品目一覧`)
)
