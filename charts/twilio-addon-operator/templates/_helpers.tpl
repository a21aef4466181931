{{/*
Copyright The twilio-addon-operator Authors.
SPDX-License-Identifier: Apache-2.0
*/}}

{{/* At most 28 characters: the longest suffix has 35, and the name of a Service at most 63. */}}
{{- define "operator.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 28 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 28 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 28 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* The labels by which pods are selected. They cannot change, so they hold no version. */}}
{{- define "operator.selector" -}}
app.kubernetes.io/name: {{ include "operator.fullname" . }}
control-plane: controller-manager
{{- end -}}

{{/* The labels by which a Deployment selects its pods: those of a shard have one more. */}}
{{- define "operator.podSelector" -}}
{{- include "operator.selector" . }}
{{- with .Shard.name }}
addons.twilio-operator.dev/shard: {{ . }}
{{- end }}
{{- end -}}

{{/* What every object carries. */}}
{{- define "operator.labels" -}}
app.kubernetes.io/name: {{ include "operator.fullname" . }}
app.kubernetes.io/part-of: twilio-addon-operator
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "operator.serviceAccountName" -}}
{{- default (printf "%s-controller-manager" (include "operator.fullname" .)) .Values.serviceAccount.name -}}
{{- end -}}

{{- define "operator.image" -}}
{{- $repository := required "image.repository is needed: where the image was pushed, without tag" .Values.image.repository -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" $repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" $repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "operator.volumeMounts" -}}
{{- if or .Values.trustedCA.configMap .Values.trustedCA.secret }}
- name: company-ca
  mountPath: /etc/ssl/company
  readOnly: true
{{- end }}
{{- if and .Values.metrics.secure .Values.metrics.certificateSecret }}
- name: metrics-certificate
  mountPath: /etc/metrics-certificate
  readOnly: true
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "operator.volumes" -}}
{{- if .Values.trustedCA.configMap }}
- name: company-ca
  configMap:
    name: {{ .Values.trustedCA.configMap }}
{{- else if .Values.trustedCA.secret }}
- name: company-ca
  secret:
    secretName: {{ .Values.trustedCA.secret }}
{{- end }}
{{- if and .Values.metrics.secure .Values.metrics.certificateSecret }}
- name: metrics-certificate
  secret:
    secretName: {{ .Values.metrics.certificateSecret }}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/*
Prints an object of files/ as one of this release: "object" is changed. It gets the
release's prefix, namespace, labels and annotations; "labels" and "annotations" come on top.
*/}}
{{- define "operator.object" -}}
{{- $prefix := printf "%s-" (include "operator.fullname" .root) -}}
{{- $metadata := .object.metadata -}}
{{- if ne .object.kind "CustomResourceDefinition" -}}
{{- $_ := set $metadata "name" (printf "%s%s" $prefix $metadata.name) -}}
{{- end -}}
{{- if $metadata.namespace -}}
{{- $_ := set $metadata "namespace" .root.Release.Namespace -}}
{{- end -}}
{{- $labels := merge (dict) (default (dict) .labels) (default (dict) $metadata.labels) (include "operator.labels" .root | fromYaml) -}}
{{- $_ := set $metadata "labels" $labels -}}
{{- $annotations := merge (dict) (default (dict) .annotations) .root.Values.commonAnnotations (default (dict) $metadata.annotations) -}}
{{- if $annotations -}}
{{- $_ := set $metadata "annotations" $annotations -}}
{{- end }}
---
{{ toYaml .object }}
{{ end -}}
