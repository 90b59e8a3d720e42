# What the rules are made of. The service states the facts; one that it does not state never counts as the good case.
package sallyport.airline

import rego.v2

desk if {
	input.phase == "before"
	input.subject.channel.door == "authzen"
}

call := input.resource.name

wanted := input.action.arguments.action.properties

facts := input.action.arguments.resource.properties

looking := {
	"get_user_details", "get_reservation_details", "list_all_airports", "search_direct_flight", "search_onestop_flight", "calculate",
	"think", "transfer_to_human_agents",
}

writing := {
	"book_reservation", "update_reservation_flights", "update_reservation_baggages", "update_reservation_passengers",
	"cancel_reservation", "send_certificate",
}

own if facts.own == "yes"

# Free bags for each passenger.
free := {
	"regular": {"basic_economy": 0, "economy": 1, "business": 2},
	"silver": {"basic_economy": 1, "economy": 2, "business": 3},
	"gold": {"basic_economy": 2, "economy": 3, "business": 3},
}

whole(n) if {
	is_number(n)
	n >= 0
}

bags_priced(total, charged, cabin, passengers) if {
	whole(total)
	total <= free[facts.member][cabin] * passengers
	charged == 0
}

bags_priced(total, charged, cabin, passengers) if {
	whole(total)
	total > free[facts.member][cabin] * passengers
	charged == total - (free[facts.member][cabin] * passengers)
}

in_profile if facts.profile == "yes"

# What is paid or paid back after the booking goes to one gift card or credit card.
payable if {
	in_profile
	facts.payment in {"credit_card", "gift_card"}
}

few_payments if {
	facts.certificates <= 1
	facts.credit_cards <= 1
	facts.gift_cards <= 3
}

party if {
	is_array(wanted.passengers)
	count(wanted.passengers) >= 1
	count(wanted.passengers) <= 5
}

same_party if {
	is_array(wanted.passengers)
	count(wanted.passengers) == facts.passengers
}

changeable if facts.same_flights == "yes"

changeable if facts.cabin in {"economy", "business"}

unverified_passes if data.params.unverified_passes

recent if {
	whole(facts.hours)
	facts.hours < 24
}

at_will if recent

at_will if facts.cancelled == "yes"

at_will if facts.cabin == "business"

insured_cause if {
	facts.insured == "yes"
	facts.reason in {"health", "weather"}
}

entitled if facts.member in {"silver", "gold"}

entitled if facts.insured == "yes"

entitled if facts.cabin == "business"

compensation if {
	wanted.amount == 100 * facts.passengers
	facts.cancelled != "no"
}

compensation if {
	wanted.amount == 50 * facts.passengers
	facts.delayed != "no"
}

# What the rules below could not verify.

unverified if {
	call == "cancel_reservation"
	not facts.used == "no"
}

unverified if {
	call == "cancel_reservation"
	not at_will
	not insured_cause
}

unverified if {
	call == "update_reservation_flights"
	not facts.same_trip == "yes"
}

unverified if {
	call == "send_certificate"
	not facts.cancelled == "yes"
	not facts.delayed == "yes"
}
