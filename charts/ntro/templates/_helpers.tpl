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

{{/* Rights on our own kinds: cluster-wide, or in the one namespace. */}}
{{- define "ntro.kindRules" -}}
- apiGroups: [ntro.dev]
  resources: [runbooks, workflows, workflowruns, gates, useractions]
  verbs: [get, list, watch]
- apiGroups: [ntro.dev]
  resources: [runbooks/status, workflows/status, workflowruns/status, gates/status, useractions/status]
  verbs: [get, update, patch]
- apiGroups: [ntro.dev]
  resources: [workflowruns, gates]
  verbs: [create, update, patch, delete]
- apiGroups: [ntro.dev]
  resources: [useractions]
  verbs: [delete]
# Owner references that block deletion.
- apiGroups: [ntro.dev]
  resources: [workflows/finalizers, workflowruns/finalizers]
  verbs: [update]
{{- end -}}
