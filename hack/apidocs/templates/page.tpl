{{- define "gvList" -}}
# API reference

Generated from the comments in [api/v1alpha1](../api/v1alpha1) by `make generate`. How the fields work
together is in [reference.md](reference.md); `kubectl explain pnaa.spec` prints the same text.
{{ range . }}
## {{ .GroupVersionString }}

{{ .Doc }}
{{- $version := . }}
{{ range .SortedKinds }}
{{- template "type" $version.TypeForKind . }}
{{- end }}
{{- range .SortedTypes }}{{ if not .GVK }}
{{- template "type" . }}
{{- end }}{{ end }}
{{- end }}
{{- end }}

{{- define "type" }}{{ if markdownShouldRenderType . }}
### {{ .Name }}

{{ .Doc }}
{{- if .IsAlias }} It is a {{ markdownRenderTypeLink .UnderlyingType }}.{{ end }}
{{- with .SortedReferences }}

Part of {{ range $i, $other := . }}{{ if $i }}, {{ end }}{{ markdownRenderTypeLink $other }}{{ end }}.
{{- end }}
{{- if .EnumValues }}

| value | |
|---|---|
{{- range .EnumValues }}
| `{{ .Name }}` | {{ template "sentence" regexReplaceAll "^\\w+: " .Doc "" }} |
{{- end }}
{{- else if .IsAlias }}{{ with .Validation }}

Validation: {{ join "; " . }}.
{{- end }}{{ end }}
{{- if .Members }}

| field | | default | validation |
|---|---|---|---|
{{- with .GVK }}
| `apiVersion` | `{{ .Group }}/{{ .Version }}` | | |
| `kind` | `{{ .Kind }}` | | |
{{- end }}
{{- range .Members }}
| `{{ .Name }}` _{{ markdownRenderType .Type }}_ | {{ if ne .Name "metadata" }}{{ template "sentence" .Doc }}{{ end }} | {{ markdownRenderDefault .Default }} | {{ template "validation" .Validation }} |
{{- end }}
{{- end }}
{{ end }}{{ end }}

{{- define "sentence" }}{{ markdownRenderFieldDoc . | replace "<br />" " " | trim }}{{ end }}

{{- define "validation" }}
{{- $rules := list }}
{{- range . }}
{{- if hasPrefix "Required:" . }}{{ $rules = append $rules "required" }}
{{- else if not (hasPrefix "Optional:" .) }}{{ $rules = append $rules (markdownRenderFieldDoc .) }}
{{- end }}
{{- end }}
{{- join "<br />" $rules }}
{{- end }}
