{{- define "ntro-tenant.namespace" -}}
{{- .Values.namespace | default .Values.tenant -}}
{{- end -}}

{{/* RBAC subjects of a list of people, users before groups, everyone once, as a JSON array. */}}
{{- define "ntro-tenant.subjects" -}}
{{- $subjects := list -}}
{{- range . -}}
{{- range .users -}}
{{- $subjects = append $subjects (dict "apiGroup" "rbac.authorization.k8s.io" "kind" "User" "name" .) -}}
{{- end -}}
{{- range .groups -}}
{{- $subjects = append $subjects (dict "apiGroup" "rbac.authorization.k8s.io" "kind" "Group" "name" .) -}}
{{- end -}}
{{- end -}}
{{- $subjects | uniq | toJson -}}
{{- end -}}
