# The desk's rules, each with the sentence that an agent needs to go on.
package sallyport.airline

import rego.v2

allow contains {"id": "look", "code": "looks-up", "reason": "Looks something up, reckons, or hands over to a person."} if {
	desk
	call in looking
}

allow contains {"id": "write", "code": "within-policy", "reason": "Within the written policy, as far as the refusals go."} if {
	desk
	call in writing
	own
}

allow contains {"id": "release", "code": "release", "reason": "The answer may go back to the service."} if {
	input.phase == "after"
	input.subject.channel.door == "authzen"
	input.context.result.kind != "none"
}

# METADATA
# custom: {owasp: [ASI02], atlas: [AML.T0053]}
ask contains {
	"id": "unverified", "code": "unverified", "severity": "medium",
	"reason": "The service could not verify what this depends on.",
	"hint": "A person of the airline has to look at this case.",
	"approver": {"channel": "operator"},
} if {
	desk
	unverified
	not unverified_passes
}

# METADATA
# custom: {owasp: [ASI03], atlas: [AML.T0085]}
deny contains {
	"id": "own", "code": "not-own", "severity": "high",
	"reason": "The reservation is not the user's, or nobody knows.",
	"hint": "Only the user's own reservations can be changed.",
} if {
	desk
	call in writing
	not own
}

# METADATA
# custom: {owasp: [ASI02], atlas: [AML.T0053]}
deny contains {
	"id": "party", "code": "party-size", "severity": "medium",
	"reason": "A reservation has one to five passengers.",
	"hint": "At most five passengers can be booked together.",
} if {
	desk
	call == "book_reservation"
	not party
}

# METADATA
# custom: {owasp: [ASI02], atlas: [AML.T0053]}
deny contains {
	"id": "party.changed", "code": "party-changed", "severity": "medium",
	"reason": "The number of passengers cannot change.",
	"hint": "Passengers can be replaced, but their number cannot change. Nobody can help with that.",
} if {
	desk
	call == "update_reservation_passengers"
	not same_party
}

# METADATA
# custom: {owasp: [ASI02], atlas: [AML.T0048]}
deny contains {
	"id": "payments", "code": "payments-many", "severity": "medium",
	"reason": "At most one certificate, one credit card and three gift cards pay for a reservation.",
	"hint": "Use at most one travel certificate, one credit card and three gift cards.",
} if {
	desk
	call == "book_reservation"
	not few_payments
}

# METADATA
# custom: {owasp: [ASI02, ASI03], atlas: [AML.T0048]}
deny contains {
	"id": "profile", "code": "payment-unknown", "severity": "high",
	"reason": "A payment method is not in the user's profile.",
	"hint": "Only payment methods in the user's profile can be used.",
} if {
	desk
	call == "book_reservation"
	not in_profile
}

# METADATA
# custom: {owasp: [ASI02], atlas: [AML.T0048]}
deny contains {
	"id": "payment", "code": "payment-kind", "severity": "medium",
	"reason": "A change is paid by one gift card or credit card of the profile.",
	"hint": "Ask for one gift card or credit card of the user's profile.",
} if {
	desk
	call in {"update_reservation_flights", "update_reservation_baggages"}
	not payable
}

# METADATA
# custom: {owasp: [ASI02], atlas: [AML.T0048]}
deny contains {
	"id": "bags.booked", "code": "bags-price", "severity": "medium",
	"reason": "The bags that are charged are not those beyond the free ones.",
	"hint": "Count the free bags by membership and cabin for each passenger; only the rest is charged.",
} if {
	desk
	call == "book_reservation"
	not bags_priced(wanted.total_baggages, wanted.nonfree_baggages, wanted.cabin, count(wanted.passengers))
}

# METADATA
# custom: {owasp: [ASI02], atlas: [AML.T0048]}
deny contains {
	"id": "bags.changed", "code": "bags-price", "severity": "medium",
	"reason": "The bags that are charged are not those beyond the free ones.",
	"hint": "Count the free bags by membership and cabin for each passenger; only the rest is charged.",
} if {
	desk
	call == "update_reservation_baggages"
	not bags_priced(wanted.total_baggages, wanted.nonfree_baggages, facts.cabin, facts.passengers)
}

# METADATA
# custom: {owasp: [ASI02], atlas: [AML.T0053]}
deny contains {
	"id": "bags.fewer", "code": "bags-fewer", "severity": "medium",
	"reason": "Checked bags can be added, not removed.",
	"hint": "Bags can be added, but not removed.",
} if {
	desk
	call == "update_reservation_baggages"
	not more_bags
}

more_bags if {
	whole(wanted.total_baggages)
	wanted.total_baggages >= facts.bags
}

# METADATA
# custom: {owasp: [ASI02], atlas: [AML.T0053]}
deny contains {
	"id": "basic", "code": "basic-economy", "severity": "medium",
	"reason": "The flights of a basic economy reservation cannot change.",
	"hint": "Basic economy flights cannot be changed. The cabin can, while the flights stay.",
} if {
	desk
	call == "update_reservation_flights"
	not changeable
}

# METADATA
# custom: {owasp: [ASI02], atlas: [AML.T0053]}
deny contains {
	"id": "trip", "code": "trip-changed", "severity": "medium",
	"reason": "Origin, destination and kind of trip cannot change.",
	"hint": "Keep origin, destination and kind of trip, and list every flight of the reservation.",
} if {
	desk
	call == "update_reservation_flights"
	not facts.same_trip in {"yes", "unknown"}
}

# METADATA
# custom: {owasp: [ASI02], atlas: [AML.T0101]}
deny contains {
	"id": "used", "code": "trip-used", "severity": "high",
	"reason": "A flight of the trip was flown already.",
	"hint": "A trip that has begun cannot be cancelled here. Hand over to a person.",
} if {
	desk
	call == "cancel_reservation"
	not facts.used in {"no", "unknown"}
}

# METADATA
# custom: {owasp: [ASI02], atlas: [AML.T0101]}
deny contains {
	"id": "cancel", "code": "cancel-terms", "severity": "high",
	"reason": "Neither booked within a day, nor cancelled by the airline, nor business, nor insured.",
	"hint": "This reservation cannot be cancelled under its terms.",
} if {
	desk
	call == "cancel_reservation"
	not at_will
	not facts.insured == "yes"
}

# METADATA
# custom: {owasp: [ASI02, ASI09], atlas: [AML.T0048]}
deny contains {
	"id": "certificate", "code": "certificate-terms", "severity": "high",
	"reason": "The user is not entitled to a certificate, or not to one of this amount.",
	"hint": "Certificates go to silver and gold members, insured and business passengers: 100 for each passenger of a cancelled flight, 50 of a delayed one.",
} if {
	desk
	call == "send_certificate"
	not certificate_due
}

certificate_due if {
	entitled
	compensation
}

# METADATA
# custom: {owasp: [ASI02], atlas: [AML.T0053]}
deny contains {
	"id": "unknown", "code": "unknown-call", "severity": "medium",
	"reason": "The policy says nothing of {tool}.",
	"hint": "This is not one of the desk's tools.",
} if {
	desk
	not call in looking
	not call in writing
}
