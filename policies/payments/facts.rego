# What the rules are made of. A fact that is unknown never counts as the good case.
package sallyport.payments

import rego.v2

cashier if input.resource.definition.pack == "stripe"

pays if input.action.effect == "spend"

pays if {
	input.action.effect in {"send", "execute", "unknown"}
	count(input.action.amounts) > 0
}

reviewed if {
	input.action.typed == "known"
	input.resource.definition.state == "approved"
	input.action.effect_source in {"declared", "approved"}
}

# One amount, in hundredths of a known currency.
amount_known if {
	count(input.action.amounts) == 1
	every a in input.action.amounts {
		a.overflow == "no"
		a.exponent == 2
		a.minor > 0
	}
}

in_currency if {
	count(input.action.amounts) > 0
	every a in input.action.amounts { a.currency in data.params.currencies }
}

at_most(limit) if {
	amount_known
	every a in input.action.amounts { a.minor <= limit }
}

payee(r) if r.value in data.params.payees

all_payees if {
	count(input.action.recipients) > 0
	every r in input.action.recipients { payee(r) }
}

counter(base, "EUR") := base

counter(base, currency) := concat("_", [base, lower(currency)]) if currency != "EUR"

within_day if {
	amount_known
	every a in input.action.amounts { fits("spend_day", a, data.params.spend_day_max_minor) }
}

# The counter of a payment to several payees is that of the one who has got most.
within_payee_day if {
	amount_known
	every a in input.action.amounts { fits("spend_payee_day", a, data.params.payee_day_max_minor) }
}

fits(base, a, limit) if {
	some c in input.context.history.counters
	c.name == counter(base, a.currency)
	c.state == "known"
	c.value + a.minor <= limit
}
