# Who may do what to whose item.
package sallyport.todo

import rego.v2

allow contains {"id": "read", "code": "todo-read", "reason": "Every user reads the list and who the others are."} if {
	asked
	input.resource.name in {"can_read_user", "can_read_todos"}
	users[input.subject.user.id]
}

allow contains {"id": "create", "code": "todo-create", "reason": "Editors and administrators add items."} if {
	asked
	input.resource.name == "can_create_todo"
	some role in roles
	role in {"admin", "editor"}
}

allow contains {"id": "update.own", "code": "todo-update", "reason": "Editors change what is theirs."} if {
	asked
	input.resource.name == "can_update_todo"
	"editor" in roles
	owns
}

allow contains {"id": "update.any", "code": "todo-update", "reason": "An evil genius changes everybody's."} if {
	asked
	input.resource.name == "can_update_todo"
	"evil_genius" in roles
}

allow contains {"id": "delete.own", "code": "todo-delete", "reason": "Editors delete what is theirs."} if {
	asked
	input.resource.name == "can_delete_todo"
	"editor" in roles
	owns
}

allow contains {"id": "delete.any", "code": "todo-delete", "reason": "Administrators delete everybody's."} if {
	asked
	input.resource.name == "can_delete_todo"
	"admin" in roles
}

# The second gate gives the decision out.
allow contains {"id": "answer", "code": "todo-answer", "reason": "The decision goes to whoever enforces it."} if {
	input.phase == "after"
	input.resource.server == "authzen"
}

asked if {
	input.phase == "before"
	input.resource.server == "authzen"
	input.action.name == "access/evaluation"
}

roles := users[input.subject.user.id].roles

owns if input.action.arguments.resource.properties.ownerID == users[input.subject.user.id].id
