# Files that may be read, changed, replaced, and those that may not.
package sallyport.filesystem

import rego.v2

allow contains {"id": "read", "code": "reads-files", "reason": "Reads files inside the roots or in a listed folder."} if {
	input.phase == "before"
	input.action.effect == "read"
	files_only
	all_readable
}

allow contains {"id": "write", "code": "writes-files", "reason": "Changes files inside the roots so that it can be undone."} if {
	input.phase == "before"
	input.action.effect == "write"
	input.action.reversible == "yes"
	files_only
	all_inside
	none_destroyed
}

allow contains {"id": "scratch", "code": "scratch", "reason": "Changes only folders of things that can be made again."} if {
	input.phase == "before"
	input.action.effect in {"write", "destroy"}
	files_only
	all_scratch
}

allow contains {"id": "release", "code": "release", "reason": "The result may go back to the agent."} if {
	input.phase == "after"
	input.context.result.kind != "none"
	count(input.action.paths) > 0
}

# METADATA
# custom: {owasp: [ASI02], atlas: [AML.T0101]}
ask contains {
	"id": "replace", "code": "replaces-file", "severity": "low",
	"reason": "Replaces a file inside the roots, which may not be undone.",
	"hint": "This may not be undone, so a person has to approve it. A new file, or an edit of a part, passes unasked.",
	"approver": {"channel": "client"},
} if {
	input.phase == "before"
	input.action.effect == "write"
	input.action.reversible != "yes"
	files_only
	all_inside
	none_destroyed
	not all_scratch
}

# METADATA
# custom: {owasp: [ASI02], atlas: [AML.T0101]}
ask contains {
	"id": "delete", "code": "deletes-file", "severity": "high",
	"reason": "Deletes a file.",
	"hint": "Deleting needs a person's approval. Leave the file in place, or go on with other work meanwhile.",
	"approver": {"channel": "operator"},
} if {
	input.phase == "before"
	destroys
	all_inside
	not all_scratch
}

# METADATA
# custom: {owasp: [ASI02, ASI08], atlas: [AML.T0101]}
ask contains {
	"id": "many", "code": "changes-many-files", "severity": "medium",
	"reason": "Changes more files in one call than the parameters allow.",
	"hint": "This changes many files at once. Do it in smaller steps.",
	"approver": {"channel": "operator"},
} if {
	input.phase == "before"
	count([p | some p in input.action.paths; p.access != "read"]) > data.params.files_changed_max
}

# METADATA
# custom: {owasp: [ASI02, ASI03], atlas: [AML.T0085]}
deny contains {
	"id": "folder.never", "code": "folder-out-of-bounds", "severity": "high", "always": true,
	"reason": "A path leads into a folder that is out of bounds.",
	"hint": "This folder is out of bounds.",
} if {
	input.phase == "before"
	some p in input.action.paths
	some folder in data.params.folders_never
	within(p, folder)
}

# METADATA
# custom: {owasp: [ASI02, ASI03], atlas: [AML.T0055]}
deny contains {
	"id": "name.never", "code": "file-out-of-bounds", "severity": "high", "always": true,
	"reason": "A path names a file that holds credentials by its name.",
	"hint": "This file is out of bounds.",
} if {
	input.phase == "before"
	some p in input.action.paths
	some name in data.params.names_never
	names(p, name)
}

# METADATA
# custom: {owasp: [ASI02, ASI03], atlas: [AML.T0055]}
deny contains {
	"id": "ending.never", "code": "file-out-of-bounds", "severity": "high", "always": true,
	"reason": "A path names a file that holds keys or states by its ending.",
	"hint": "This file is out of bounds.",
} if {
	input.phase == "before"
	some p in input.action.paths
	some ending in data.params.endings_never
	ends(p, ending)
}

# METADATA
# custom: {owasp: [ASI02], atlas: [AML.T0053]}
deny contains {
	"id": "folder.read-only", "code": "folder-read-only", "severity": "high",
	"reason": "Changes something in a folder that may only be read.",
	"hint": "Nothing can be changed in this folder; reading is fine.",
} if {
	input.phase == "before"
	some p in input.action.paths
	p.access != "read"
	some folder in data.params.folders_read_only
	within(p, folder)
}

# METADATA
# custom: {owasp: [ASI01, ASI06], atlas: [AML.T0051]}
oblige contains {"id": "label-untrusted", "type": "label", "params": {"untrusted": "yes"}} if {
	input.phase == "after"
	read_from(data.params.folders_untrusted)
}

# METADATA
# custom: {owasp: [ASI02], atlas: [AML.T0057, AML.T0086]}
oblige contains {"id": "label-confidential", "type": "label", "params": {"secrecy": "confidential"}} if {
	input.phase == "after"
	read_from(data.params.folders_confidential)
}
