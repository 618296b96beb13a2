{{- define "fairlead-operator.selector" -}}
app.kubernetes.io/name: fairlead
app.kubernetes.io/component: operator
{{- end }}

{{- define "fairlead-operator.labels" -}}
{{ include "fairlead-operator.selector" . }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- /*
What the operator does with the objects that it serves, one reason a rule. It is a
ClusterRole without watchNamespaces and a Role in each of them otherwise.
*/ -}}
{{- define "fairlead-operator.rules" -}}
# Select Clusters, and learn endpoint, pod ranges and deletion; patch gives those that are
# new their number and addresses.
- apiGroups: [cluster.x-k8s.io]
  resources: [clusters]
  verbs: [get, list, watch, patch]
# What numbers and addresses there are.
- apiGroups: [fairlead.io]
  resources: [fleetpools]
  verbs: [get, list, watch]
# Reservations are updates with a resource version, the rest is patches.
- apiGroups: [fairlead.io]
  resources: [fleetpools/status]
  verbs: [patch, update]
# The objects that people write; patch is for the finalizer.
- apiGroups: [fairlead.io]
  resources: [networkstacks]
  verbs: [get, list, watch, patch]
# One for each selected Cluster: applied, and deleted when no longer selected.
- apiGroups: [fairlead.io]
  resources: [clusterstacks]
  verbs: [get, list, watch, create, patch, delete]
# Status is written by patches only.
- apiGroups: [fairlead.io]
  resources: [networkstacks/status, clusterstacks/status]
  verbs: [patch]
# Owner references that block the owner's deletion need this where that is enforced.
- apiGroups: [fairlead.io]
  resources: [networkstacks/finalizers]
  verbs: [update]
# Watch kubeconfigs (cached by Cluster API's label only; RBAC knows no labels), and
# keep each NetworkStack's root CA: create it, renew it. Never patched, never deleted.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, list, watch, create, update]
# Keep the control plane's controller from a kube-proxy that is replaced, by an annotation.
- apiGroups: [controlplane.cluster.x-k8s.io]
  resources: [kubeadmcontrolplanes]
  verbs: [patch]
# Say at a ClusterStack what a changed configuration does to its cluster.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}

{{- /* Operators that serve a namespace each have hooks each. */ -}}
{{- define "fairlead-operator.hooks" -}}
{{- if .Values.watchNamespaces }}{{ printf "fairlead-%s" .Release.Namespace }}{{ else }}fairlead{{ end }}
{{- end }}
