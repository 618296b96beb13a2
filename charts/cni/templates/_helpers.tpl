{{- define "fairlead.labels" -}}
app.kubernetes.io/name: fairlead
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "fairlead.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- /* The API server is reached where the Cluster says, not through a Service. */ -}}
{{- define "fairlead.apiServerEnv" -}}
- name: KUBERNETES_SERVICE_HOST
  value: {{ required "apiServer.host: the address of the API server that nodes reach without a pod network (the Cluster's spec.controlPlaneEndpoint.host)" .Values.apiServer.host | quote }}
- name: KUBERNETES_SERVICE_PORT
  value: {{ .Values.apiServer.port | quote }}
{{- end }}
