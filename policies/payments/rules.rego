# Payments that pass, those that ask, and those that are never made.
package sallyport.payments

import rego.v2

allow contains {"id": "pay", "code": "small-payment", "reason": "A small payment to a listed payee, within the sums of the day."} if {
	input.phase == "before"
	input.action.effect == "spend"
	reviewed
	in_currency
	at_most(data.params.amount_unasked_minor)
	all_payees
	within_day
	within_payee_day
	no_places
}

no_places if {
	count(input.action.paths) == 0
	count(input.action.commands) == 0
	count(input.action.urls) == 0
	count(input.action.sql) == 0
}

allow contains {"id": "look", "code": "reads-payments", "reason": "Looks something up on a reviewed payment server."} if {
	input.phase == "before"
	input.action.effect == "read"
	cashier
	reviewed
	no_places
	count(input.context.detect.secrets) == 0
}

allow contains {"id": "release", "code": "release", "reason": "The result may go back to the agent."} if {
	input.phase == "after"
	input.context.result.kind != "none"
	of_money
}

of_money if cashier

of_money if pays

# METADATA
# custom: {owasp: [ASI01, ASI02], atlas: [AML.T0048, AML.T0053]}
ask contains {
	"id": "payee", "code": "payee-unlisted", "severity": "high",
	"reason": "Pays somebody who is not listed, or nobody who was understood.",
	"hint": "Paying this account needs a person's approval.",
	"approver": {"channel": "operator"},
} if {
	input.phase == "before"
	pays
	not all_payees
}

# METADATA
# custom: {owasp: [ASI02], atlas: [AML.T0048, AML.T0053]}
ask contains {
	"id": "amount", "code": "amount-large", "severity": "high",
	"reason": "Pays more than passes unasked.",
	"hint": "This amount needs a person's approval.",
	"approver": {"channel": "operator"},
} if {
	input.phase == "before"
	pays
	not at_most(data.params.amount_unasked_minor)
}

# METADATA
# custom: {owasp: [ASI02, ASI09], atlas: [AML.T0048, AML.T0053]}
ask contains {
	"id": "amount.two", "code": "amount-two-people", "severity": "high",
	"reason": "Pays so much that two people must agree.",
	"hint": "This amount needs the approval of two people.",
	"approver": {"channel": "operator", "quorum": 2},
} if {
	input.phase == "before"
	pays
	some a in input.action.amounts
	a.minor >= data.params.amount_two_minor
}

# METADATA
# custom: {owasp: [ASI02, ASI08], atlas: [AML.T0048]}
ask contains {
	"id": "day", "code": "day-spent", "severity": "high",
	"reason": "Pays more in a day than the parameters let pass, or nobody counts it.",
	"hint": "The sum of the day is spent, so a person has to approve each further payment.",
	"approver": {"channel": "operator"},
} if {
	input.phase == "before"
	pays
	not within_day
}

# METADATA
# custom: {owasp: [ASI02, ASI08], atlas: [AML.T0048]}
ask contains {
	"id": "payee.day", "code": "payee-day-spent", "severity": "high",
	"reason": "One payee gets more in a day than the parameters let pass, or nobody counts it.",
	"hint": "This payee has got as much today as passes unasked, so a person has to approve more.",
	"approver": {"channel": "operator"},
} if {
	input.phase == "before"
	pays
	not within_payee_day
}

# METADATA
# custom: {owasp: [ASI02, ASI03], atlas: [AML.T0048, AML.T0053]}
ask contains {
	"id": "settings", "code": "payment-settings", "severity": "high",
	"reason": "{tool} changes prices, subscriptions, invoices or rights of a payment server.",
	"hint": "This changes what others pay, so a person has to approve it.",
	"approver": {"channel": "operator"},
} if {
	input.phase == "before"
	cashier
	input.action.effect in {"write", "send", "admin", "destroy", "execute", "unknown"}
}

# METADATA
# custom: {owasp: [ASI02], atlas: [AML.T0048, AML.T0053]}
deny contains {
	"id": "amount.max", "code": "amount-too-large", "severity": "critical", "always": true,
	"reason": "Pays more than is ever paid in one call, or an amount that was not understood.",
	"hint": "State one positive amount with its currency, not above what may be paid here in one call.",
} if {
	input.phase == "before"
	pays
	not at_most(data.params.amount_max_minor)
}

# METADATA
# custom: {owasp: [ASI02], atlas: [AML.T0048, AML.T0053]}
deny contains {
	"id": "currency", "code": "currency-unlisted", "severity": "high",
	"reason": "Pays in a currency that is not listed, or says none.",
	"hint": "Name the currency by its three letters. Not every currency is paid in here.",
} if {
	input.phase == "before"
	pays
	not in_currency
}

# METADATA
# custom: {owasp: [ASI02, ASI03], atlas: [AML.T0055, AML.T0086]}
deny contains {
	"id": "secret", "code": "secret-outside", "severity": "critical", "always": true,
	"reason": "The payment holds a secret.",
	"hint": "The payment holds a credential. Remove it; it must not leave.",
} if {
	input.phase == "before"
	pays
	count(input.context.detect.secrets) > 0
}

# Names, descriptions and messages on payments are written by whoever pays.
# METADATA
# custom: {owasp: [ASI01, ASI06], atlas: [AML.T0051]}
oblige contains {"id": "label-untrusted", "type": "label", "params": {"untrusted": "yes"}} if {
	input.phase == "after"
	of_money
}
