# What the rules are made of. A fact that is unknown never counts as the good case.
package sallyport.filesystem

import rego.v2

# A reviewed tool inside that is told paths, all of them understood, and nothing else that controls it.
files_only if {
	count(input.action.paths) > 0
	input.action.typed == "known"
	input.resource.zone == "inside"
	input.resource.definition.state == "approved"
	input.action.effect_source in {"declared", "approved"}
	count(input.action.commands) == 0
	count(input.action.urls) == 0
	count(input.action.recipients) == 0
	count(input.action.sql) == 0
}

within(p, folder) if startswith(concat("", [p.resolved, "/"]), concat("", [folder, "/"]))

plain(p) if {
	p.resolved != ""
	p.traversal == "no"
	p.private == "no"
}

inside(p) if {
	p.inside == "yes"
	plain(p)
}

inside(p) if {
	plain(p)
	some root in data.params.roots
	within(p, root)
}

readable(p) if {
	p.access == "read"
	inside(p)
}

readable(p) if {
	p.access == "read"
	plain(p)
	some folder in data.params.folders_read
	within(p, folder)
}

all_readable if every p in input.action.paths { readable(p) }

all_inside if every p in input.action.paths { inside(p) }

none_destroyed if every p in input.action.paths { p.access in {"read", "write"} }

scratch(p) if {
	inside(p)
	some folder in data.params.folders_scratch
	within(p, folder)
}

all_scratch if every p in input.action.paths { scratch(p) }

destroys if input.action.effect == "destroy"

destroys if {
	some p in input.action.paths
	p.access == "destroy"
}

# A path that could not be resolved is looked at as it was written.
names(p, name) if endswith(concat("", ["/", lower(p.resolved)]), concat("", ["/", name]))

names(p, name) if endswith(concat("", ["/", lower(p.raw)]), concat("", ["/", name]))

ends(p, ending) if endswith(lower(p.resolved), ending)

ends(p, ending) if endswith(lower(p.raw), ending)

read_from(folders) if {
	some p in input.action.paths
	some folder in folders
	within(p, folder)
}
