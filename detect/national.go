// SPDX-License-Identifier: Apache-2.0

package detect

import "strings"

// checked reports whether d satisfies the check digits of one of the national numbers that have its length.
// The rules are those that the issuing states publish. One random number in ten or so satisfies one of
// them, so it takes a word that announces such a number too.
func checked(d []byte) bool {
	switch len(d) {
	case 9:
		return dutch(d) || luhn(d) // Canada's social insurance number is a Luhn number
	case 10:
		return british(d) || luhn(d) && dated(d[2:6]) // Sweden: YYMMDDNNNC
	case 11:
		return german(d) || polish(d) || brazilian(d) || belgian(d)
	case 12:
		return verhoeff(d) || luhn(d[2:]) && dated(d[4:8]) // India; Sweden with the century
	case 15:
		return french(d)
	case 18:
		return chinese(d)
	}
	return false
}

// weigh returns the sum of digits times weights.
func weigh(d []byte, weights ...int) (sum int) {
	for i, w := range weights {
		sum += int(d[i]) * w
	}
	return sum
}

func value(d []byte) (v int) {
	for _, x := range d {
		v = v*10 + int(x)
	}
	return v
}

// dated reports whether d is a month and a day.
func dated(d []byte) bool {
	m, day := value(d[:2]), value(d[2:4])
	return m >= 1 && m <= 12 && day >= 1 && day <= 31
}

// luhn is the check digit of ISO/IEC 7812-1.
func luhn(d []byte) bool {
	sum := 0
	for k := range d {
		v := int(d[len(d)-1-k])
		if k%2 == 1 {
			if v *= 2; v > 9 {
				v -= 9
			}
		}
		sum += v
	}
	return sum%10 == 0
}

func dutch(d []byte) bool { return weigh(d, 9, 8, 7, 6, 5, 4, 3, 2, -1)%11 == 0 && value(d) > 0 }

func british(d []byte) bool {
	c := 11 - weigh(d, 10, 9, 8, 7, 6, 5, 4, 3, 2)%11
	return c%11 == int(d[9]) && c != 10
}

func german(d []byte) bool {
	p := 10
	for _, x := range d[:10] {
		s := (int(x) + p) % 10
		if s == 0 {
			s = 10
		}
		p = 2 * s % 11
	}
	return d[0] != 0 && (11-p)%10 == int(d[10])
}

func polish(d []byte) bool {
	return weigh(d, 1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1)%10 == 0 && value(d[4:6]) >= 1 && value(d[4:6]) <= 31
}

func belgian(d []byte) bool {
	rest, check := value(d[:9]), value(d[9:])
	return 97-rest%97 == check || 97-(2_000_000_000+rest)%97 == check
}

func brazilian(d []byte) bool {
	same := true
	for _, x := range d {
		same = same && x == d[0]
	}
	first := weigh(d, 10, 9, 8, 7, 6, 5, 4, 3, 2) * 10 % 11 % 10
	second := weigh(d, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2) * 10 % 11 % 10
	return !same && first == int(d[9]) && second == int(d[10])
}

func french(d []byte) bool {
	return (d[0] == 1 || d[0] == 2) && 97-value(d[:13])%97 == value(d[13:])
}

// chinese takes 10 for the last digit X.
func chinese(d []byte) bool {
	check := weigh(d, 7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
	return dated(d[10:14]) && (12-check%11)%11 == int(d[17])
}

// The tables of Verhoeff's check digit (Error detecting decimal codes, 1969).
var (
	verhoeffTimes = [10]string{"0123456789", "1234067895", "2340178956", "3401289567", "4012395678", "5987604321", "6598710432", "7659821043",
		"8765932104", "9876543210"}
	verhoeffMoves = [8]string{"0123456789", "1576283094", "5803796142", "8916043527", "9453126870", "4286573901", "2793806415", "7046913258"}
)

func verhoeff(d []byte) bool {
	c := byte(0)
	for i := range d {
		c = verhoeffTimes[c][verhoeffMoves[i%8][d[len(d)-1-i]]-'0'] - '0'
	}
	return c == 0 && d[0] > 1
}

func spanish(d []byte, letter byte) bool {
	return "TRWAGMYFPDXBNJZSQVHLCKE"[value(d)%23] == letter
}

// lettered takes the national numbers that begin with a letter at t[i]: Spain's for foreigners, Italy's tax
// code, Britain's insurance number, and those of papers that are announced.
func lettered(t string, i int) (hit, bool) {
	end := i
	digits := 0
	for end < len(t) && end-i <= 16 && (t[end] >= '0' && t[end] <= '9' || t[end] >= 'A' && t[end] <= 'Z') {
		if t[end] <= '9' {
			digits++
		}
		end++
	}
	if end < len(t) && isWord(t[end]) || digits < 6 {
		return hit{}, false
	}
	s := t[i:end]
	if announces(strings.ToLower(t[max(0, i-48):i]), papers) {
		return personalHit("document-id", i, end, scoreNational), true
	}
	is := func(pattern string) bool { // A is a letter, 9 a digit
		for k := range s {
			if (pattern[k] == '9') != (s[k] <= '9') {
				return false
			}
		}
		return true
	}
	ok := false
	switch len(s) {
	case 9:
		if is("A9999999A") && strings.IndexByte("XYZ", s[0]) >= 0 {
			d := []byte{s[0] - 'X'}
			for k := 1; k < 8; k++ {
				d = append(d, s[k]-'0')
			}
			ok = spanish(d, s[8])
		} else if is("AA999999A") {
			ok = strings.IndexByte("DFIQUV", s[0]) < 0 && strings.IndexByte("DFIOQUV", s[1]) < 0 && s[8] <= 'D'
		}
	case 16:
		ok = is("AAAAAA99A99A999A") && italian(s)
	}
	return personalHit("national-id", i, end, scoreNational), ok
}

// italian checks the last character of a codice fiscale (decree of 23 December 1976).
func italian(s string) bool {
	odd := [26]int{1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23}
	sum := 0
	for k := range 15 {
		v := int(s[k] - 'A')
		if s[k] <= '9' {
			v = int(s[k] - '0')
		}
		if k%2 == 0 {
			v = odd[v]
		}
		sum += v
	}
	return s[15] == byte('A'+sum%26)
}

// fields are the names of members that hold personal data, without case and separators.
var fields = map[string]string{
	"firstname": "name", "lastname": "name", "surname": "name", "fullname": "name", "givenname": "name", "familyname": "name", "middlename": "name",
	"maidenname": "name", "contactname": "name", "customername": "name", "patientname": "name", "employeename": "name", "cardholder": "name",
	"cardholdername": "name", "accountholder": "name", "nachname": "name", "vorname": "name", "name": "name",
	"birthdate": "birth-date", "dateofbirth": "birth-date", "dob": "birth-date", "birthday": "birth-date", "geburtsdatum": "birth-date",
	"street": "postal-address", "streetaddress": "postal-address", "homeaddress": "postal-address", "postaladdress": "postal-address",
	"billingaddress": "postal-address", "shippingaddress": "postal-address", "address1": "postal-address", "addressline1": "postal-address",
	"passport": "document-id", "passportnumber": "document-id", "driverslicense": "document-id", "driverlicense": "document-id",
	"licensenumber": "document-id", "ssn": "ssn", "socialsecuritynumber": "ssn", "nationalid": "national-id", "taxid": "national-id",
	"phone": "phone", "phonenumber": "phone", "mobile": "phone", "telephone": "phone",
}

// field says what a text is by the name of the member that holds it. A plain "name" is a person's only if
// it reads like one.
func field(t, name string) (hit, bool) {
	if len(t) < 2 || len(t) > 160 || name == "" || len(name) > 40 || strings.HasPrefix(t, masked) {
		return hit{}, false
	}
	var buf [40]byte
	low := buf[:0]
	for i := range len(name) {
		if c := lower(name[i]); c != '_' && c != '-' && c != ' ' {
			low = append(low, c)
		}
	}
	kind, ok := fields[string(low)]
	if !ok {
		return hit{}, false
	}
	score := scoreContact
	switch kind {
	case "name":
		ok = !strings.ContainsAny(t, "0123456789/\\@:;_<>{}") && (string(low) != "name" || person(t))
	case "phone":
		n := 0
		for i := range len(t) {
			if t[i] >= '0' && t[i] <= '9' {
				n++
			}
		}
		ok = n >= 6 && n <= 15
	case "ssn", "national-id", "document-id":
		score, ok = scoreNational, strings.ContainsAny(t, digits)
	case "birth-date":
		ok = strings.ContainsAny(t, digits)
	}
	return personalHit(kind, 0, len(t), score), ok
}

// person reports whether t is two to four capitalised words.
func person(t string) bool {
	words := strings.Fields(t)
	if len(words) < 2 || len(words) > 4 {
		return false
	}
	for _, w := range words {
		if c := w[0]; c < 0x80 && (c < 'A' || c > 'Z') {
			return false
		}
	}
	return true
}
