package kubernetes.admission

deny[message] {
	input.request.kind.kind == "Pod"
	image := input.request.object.spec.containers[_].image
	not known(image)
	message := sprintf("image %v comes from an unknown registry", [image])
}

deny["Pods do not run as root."] {
	input.request.kind.kind == "Pod"
	input.request.object.spec.securityContext.runAsUser == 0
}

deny["Nothing is made in the system's own namespace."] {
	input.request.operation == "CREATE"
	input.request.namespace == "kube-system"
}

known(image) {
	startswith(image, "registry.example.com/")
}
