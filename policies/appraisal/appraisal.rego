# What evidence is worth. Values are those of AR4SI: 2 affirms, 32 to 95 warn, 96 and above contradict, 0 claims nothing.
# Everything begins bad and rises only on a match.
package document.appraisal

import rego.v2

default instance_identity := 97

default executables := 33

default configuration := 36

default hardware := 97

default file_system := 0

default runtime_opaque := 0

default storage_opaque := 0

default sourced_data := 0

default lease_s := 0

# The agent is one that has reference values, and its evidence is of a kind that they accept.
instance_identity := 2 if {
	input.facts.kind in input.agent.kinds
	chip_accepted
}

chip_accepted if input.facts.kind != "tpm"

chip_accepted if {
	input.facts.kind == "tpm"
	count(input.agent.chips) == 0
}

chip_accepted if {
	input.facts.kind == "tpm"
	input.chip in input.agent.chips
}

# Measurements by what they speak of.
executable_kinds := {"executable", "command", "interpreter", "packages", "lockfile", "script", "image"}

configuration_kinds := {"prompt", "tools", "config", "policy"}

weights_kinds := {"model"}

# The parts that an agent is made of, each a program that proves itself by its own evidence: the agent's, and those of the
# servers that it starts. One part has to explain everything that was measured; without a list the agent is one part.
parts := input.agent.components if {
	count(input.agent.components) > 0
} else := [{"name": "", "references": {}, "no_model": false}]

# What is expected of a part: its own reference values, and those of the whole agent.
accepted(part, kind) := {d | some d in part.references[kind]} | {d | some d in input.agent.references[kind]}

expected(part, kinds) := ({kind | some kind, _ in part.references} & kinds) |
	({kind | some kind, _ in input.agent.references} & kinds) |
	built(kinds)

# Where builders are accepted a program or an image must be there, as theirs or by a reference value.
built(kinds) := {kind |
	some kind in kinds & built_kinds
	some e in input.measured
	e.kind == kind
	count(input.agent.builders) > 0
}

# Measured, and not what is expected: also what nobody expected.
wrong(part, kinds) := {e.kind |
	some e in input.measured
	e.kind in kinds
	not as_expected(part, e)
}

absent(part, kinds) := expected(part, kinds) - {e.kind | some e in input.measured}

as_expected(part, e) if e.digest in accepted(part, e.kind)

# A program or image that an accepted builder made, from an accepted source, by the word of an accepted signer.
as_expected(_, e) if {
	e.kind in built_kinds
	e.digest in input.provenance.subjects
	input.provenance.builder in input.agent.builders
	input.provenance.signer in input.agent.signers
	source_accepted
}

built_kinds := {"executable", "image"}

source_accepted if count(input.agent.sources) == 0

source_accepted if {
	some source in input.provenance.sources
	source.uri in input.agent.sources
}

met(part, kinds) if {
	count(expected(part, kinds)) > 0
	count(wrong(part, kinds)) == 0
	count(absent(part, kinds)) == 0
}

all_kinds := (executable_kinds | configuration_kinds) | weights_kinds

# The part that explains the measurements, else the one that comes nearest, which the reasons are about.
nearest := min({[count(wrong(part, all_kinds)), count(absent(part, all_kinds)), i] | some i, part in parts})[2]

part := parts[nearest]

component := part.name

# An enclave is named by its own measurement as well.
enclave_kinds := {"sgx", "tdx", "snp", "nitro"}

enclave_met if not input.facts.kind in enclave_kinds

enclave_met if input.facts.enclave.mrenclave in input.agent.references.mrenclave

enclave_met if input.facts.td.mrtd in input.agent.references.mrtd

enclave_met if input.facts.snp.measurement in input.agent.references.snp

enclave_met if input.facts.nitro.pcrs["0"] in input.agent.references.nitro

executables := 2 if {
	met(part, executable_kinds)
	enclave_met
} else := 96 if {
	count(expected(part, executable_kinds)) > 0
	count(wrong(part, executable_kinds)) > 0
} else := 96 if not enclave_met

configuration := 2 if {
	met(part, configuration_kinds)
} else := 96 if {
	count(expected(part, configuration_kinds)) > 0
	count(wrong(part, configuration_kinds)) > 0
}

file_system := 2 if {
	met(part, weights_kinds)
} else := 2 if {
	input.model >= 2
	input.statement.signer in input.agent.signers
	count(expected(part, weights_kinds)) == 0
} else := 96 if {
	count(expected(part, weights_kinds)) > 0
	count(wrong(part, weights_kinds)) > 0
} else := 32 if count(expected(part, weights_kinds)) > 0

# The platform. A simulator and a chip that nobody vouches for warn; so does whatever software says of itself.
hardware := 96 if {
	restarted
	input.agent.restarts != "accept"
} else := 96 if {
	turned_back
} else := 2 if {
	input.facts.kind == "tpm"
	input.facts.test == "no"
	input.facts.platform.ak_resident == "yes"
	input.facts.platform.ek_endorsed == "yes"
	input.facts.platform.log_replayed == "yes"
} else := 33 if {
	input.facts.kind == "tpm"
	input.facts.platform.ak_resident == "yes"
	input.facts.platform.log_replayed == "yes"
} else := 2 if {
	input.facts.kind in {"sgx", "tdx"}
	input.facts.debug == "no"
	input.facts.tcb.status in statuses
} else := 2 if {
	input.facts.kind == "snp"
	input.facts.debug == "no"
	input.facts.test == "no"
	input.facts.snp.revocations == "yes"
	input.facts.snp.migration_agent == "no"
	input.facts.snp.vmpl == 0
} else := 2 if {
	input.facts.kind == "nitro"
	input.facts.debug == "no"
	input.facts.test == "no"
} else := 32 if {
	input.facts.kind in {"sgx", "tdx"}
	input.facts.debug == "no"
	input.facts.tcb.status != "Revoked"
} else := 33 if {
	input.facts.kind in {"supervisor", "software"}
}

statuses := input.agent.statuses if {
	count(input.agent.statuses) > 0
} else := ["UpToDate"]

restarted if input.facts.platform.reset_count != input.known.reset_count

restarted if input.facts.platform.restart_count != input.known.restart_count

# The same boot, and an earlier clock: an older state of the chip, or a copy of it.
turned_back if {
	not restarted
	input.facts.platform.clock_ms < input.known.clock_ms
}

accepted_platform if hardware < 96

accepted_platform_state if not input.facts.kind in enclave_kinds

accepted_platform_state if hardware == 2

# How old the maker's statements about the platform may be, in seconds. Intel renews its own by the month, AMD by the year
# or so; a lease ends before they are too old.
collateral_bound := input.agent.collateral_s if {
	input.agent.collateral_s > 0
} else := 2678400 if {
	input.facts.kind in {"sgx", "tdx"}
}

collateral_left := collateral_bound - input.collateral_age_s if input.collateral_age_s >= 0

aged := {"sgx", "tdx", "snp"}

collateral_accepted if not input.facts.kind in aged

collateral_accepted if {
	input.facts.kind == "snp"
	input.collateral_age_s >= 0
	not collateral_bound
}

collateral_accepted if collateral_left > 0

lasts := min([input.agent.lease_s, collateral_left]) if {
	input.facts.kind in aged
	collateral_left
} else := input.agent.lease_s

lease_s := lasts if {
	input.facts.fresh == "yes"
	input.assurance >= input.agent.assurance
	model_accepted
	instance_identity == 2
	executables == 2
	configuration < 96
	file_system < 32
	accepted_platform
	accepted_platform_state
	collateral_accepted
}

# A part may be one that loads no model.
model_accepted if input.model >= input.agent.model

model_accepted if part.no_model

why contains sprintf("of the agent's %d components %q comes nearest", [count(parts), part.name]) if {
	count(parts) > 1
	some problem in [wrong(part, all_kinds), absent(part, all_kinds)]
	count(problem) > 0
}

why contains sprintf("evidence of the kind %s is not accepted for this agent", [input.facts.kind]) if not input.facts.kind in input.agent.kinds

why contains "the chip is not one of the agent's" if not chip_accepted

why contains sprintf("assurance %d, at least %d is wanted", [input.assurance, input.agent.assurance]) if input.assurance < input.agent.assurance

why contains sprintf("model level %d, at least %d is wanted", [input.model, input.agent.model]) if not model_accepted

why contains sprintf("%s: measured, and no reference value", [kind]) if {
	some kind in wrong(part, all_kinds)
	kind in expected(part, all_kinds)
}

why contains sprintf("%s: not measured", [kind]) if some kind in absent(part, all_kinds)

why contains "no reference value for what the agent runs" if count(expected(part, executable_kinds)) == 0

why contains sprintf("built by %s, who is not accepted", [input.provenance.builder]) if not input.provenance.builder in input.agent.builders

why contains "built from a source that is not accepted" if {
	input.provenance
	not source_accepted
}

why contains "the enclave is not the expected one" if not enclave_met

why contains "the machine restarted since its chip was last seen" if {
	restarted
	input.agent.restarts != "accept"
}

why contains "the chip's clock went back: an older state of it, or a copy" if turned_back

why contains "what the platform's maker states is too old, or of unknown age" if not collateral_accepted

why contains "a simulator: worth no more than a key in software" if input.facts.test == "yes"

why contains sprintf("the platform is %s", [input.facts.tcb.status]) if {
	input.facts.kind in {"sgx", "tdx"}
	not input.facts.tcb.status in statuses
}
