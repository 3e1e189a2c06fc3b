{{/* Names are fixed: people's roles name the pod, the certificate names the Service, policies name the account. */}}
{{- define "ntro.labels" -}}
app.kubernetes.io/name: ntro
app.kubernetes.io/component: operator
app.kubernetes.io/part-of: ntro
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end -}}

{{- define "ntro.selector" -}}
app.kubernetes.io/name: ntro
app.kubernetes.io/component: operator
{{- end -}}

{{- define "ntro.namespaced" -}}
{{- if eq .Values.scope "namespace" }}true{{ end -}}
{{- end -}}

{{/* Name of what is cluster-wide: instances of one namespace each must not share it. */}}
{{- define "ntro.policyPrefix" -}}
{{- if include "ntro.namespaced" . }}ntro-{{ .Release.Namespace }}{{ else }}ntro{{ end -}}
{{- end -}}

{{/* CEL: the policies hold for the request. */}}
{{- define "ntro.inScope" -}}
{{- if include "ntro.namespaced" . }}request.namespace == '{{ .Release.Namespace }}'{{ else }}true{{ end -}}
{{- end -}}

{{/* CEL: the same for a request for a Namespace. */}}
{{- define "ntro.namespaceInScope" -}}
{{- if include "ntro.namespaced" . }}object.metadata.name == '{{ .Release.Namespace }}'{{ else }}true{{ end -}}
{{- end -}}
