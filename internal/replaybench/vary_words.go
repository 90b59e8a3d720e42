// SPDX-License-Identifier: Apache-2.0

package replaybench

import "strings"

// pairsOf reads lines of a word and what takes its place.
func pairsOf(text string) map[string]string {
	m := map[string]string{}
	for line := range strings.FieldsSeq(text) {
		from, to, _ := strings.Cut(line, ":")
		m[from] = to
	}
	return m
}

// The other words are what other makers of such tools might call the same thing. The product's own lists grew after
// these were written, and some words stand in both.
var (
	otherTools = pairsOf(`send:dispatch get:obtain read:open search:look_up create:compose update:amend delete:scrap cancel:void
		reschedule:shift add:include remove:expel invite:onboard share:circulate reserve:secure append:extend post:put_up money:funds
		transaction:movement transactions:movements email:letter emails:letters calendar:agenda event:appointment events:appointments
		file:document files:documents contacts:address_book hotel:lodging hotels:lodgings restaurant:eatery restaurants:eateries
		user:person users:people channel:room channels:rooms message:note messages:notes webpage:page checkout:settle cart:basket
		product:article order:purchase refund:give_back password:passcode login:enter verify:validate browse:visit download:pull
		copy:duplicate move:relocate input:type view:display information:particulars info:particulars schedule:queue balance:funds_left
		book:secure list:enumerate make:issue transfer:wire star:favour repository:codebase repo:codebase issue:ticket clone:mirror
		participants:guests current:present`)
	otherArguments = pairsOf(`recipient:send_to recipients:addressees amount:sum subject:headline body:letter_text title:heading
		participants:people_asked user:person channel:room url:web_address content:payload_text date:on_day email:mail_address
		user_email:mail_address file:document event:appointment password:passcode query:needle start_time:begins_at end_time:ends_at
		new_start_time:begins_at new_end_time:ends_at start_day:first_day end_day:last_day location:venue city:town hotel:lodging
		company:firm product:article order:purchase path:place file_path:place source_path:old_place destination_path:new_place
		recurring:repeats sender:written_by attachments:enclosures cc:copy_to bcc:blind_copy_to filename:called permission:level
		restaurant:eatery quantity:how_many save_dir:keep_in id_number:state_number phone_number:call_number address:lives_at
		bank_account_number:giro_number first_name:given_name last_name:family_name street:road discount_code:voucher
		username:nickname otp:passkey_digits input_ids:fields input_values:entries`)
	otherFields = pairsOf(`recipient:send_to recipients:addressees amount:sum subject:headline body:letter_text title:heading
		participants:people_asked sender:written_by content:payload_text date:on_day email:mail_address filename:called owner:kept_by
		shared_with:open_to start_time:begins_at end_time:ends_at location:venue description:what_about price:costs rating:marks
		reviews:opinions product_id:article_no order_id:purchase_no order_date:bought_on delivery_date:arrives_on product_name:article
		quantity:how_many brand:maker category:kind timestamp:at last_modified:touched size:bytes id:ref id_:ref all_day:whole_day
		recurring:repeats read:seen cc:copy_to bcc:blind_copy_to attachments:enclosures first_name:given_name last_name:family_name
		street:road city:town iban:giro_number phone_number:call_number address:lives_at name:called status:phase`)
	german = pairsOf(`recipient:empfaenger recipients:empfaenger_liste amount:betrag subject:betreff body:nachricht title:titel
		participants:teilnehmer sender:absender content:inhalt date:datum email:e_mail_adresse filename:dateiname owner:besitzer
		shared_with:geteilt_mit start_time:beginn end_time:ende location:ort description:beschreibung price:preis rating:bewertung
		reviews:rezensionen product:produkt order:bestellung quantity:menge brand:marke category:kategorie timestamp:zeitstempel
		last_modified:zuletzt_geaendert size:groesse id:kennung id_:kennung user:benutzer channel:kanal url:webadresse file:datei
		event:termin password:passwort query:suchbegriff city:stadt hotel:unterkunft company:firma path:pfad recurring:wiederkehrend
		attachments:anhaenge cc:kopie bcc:blindkopie permission:recht restaurant:gaststaette first_name:vorname last_name:nachname
		street:strasse iban:kontonummer phone_number:telefon address:anschrift name:bezeichnung status:stand account:konto`)
)
