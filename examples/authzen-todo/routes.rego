# What an API gateway asks before it forwards: may this person use this method on this route? It names the route by its
# template, and whom it signed in as a subject of type "identity".
package sallyport.todo

import rego.v2

allow contains {"id": "route.read", "code": "todo-route", "reason": "Every user reads the list and who the others are."} if {
	routed
	input.resource.name == "GET"
	route in {"/users/{userId}", "/todos"}
	users[caller]
}

allow contains {"id": "route.write", "code": "todo-route", "reason": "Editors and administrators reach what changes the list; whose item it is, the application asks."} if {
	routed
	route in writing[input.resource.name]
	some role in users[caller].roles
	role in {"admin", "editor"}
}

writing := {"POST": {"/todos"}, "PUT": {"/todos/{todoId}"}, "DELETE": {"/todos/{todoId}"}}

routed if {
	asked
	input.action.arguments.subject.type == "identity"
	input.action.arguments.resource.type == "route"
}

caller := input.action.arguments.subject.id

route := input.action.arguments.resource.id
