# syntax=docker/dockerfile:1
# Copyright The twilio-addon-operator Authors.
# SPDX-License-Identifier: Apache-2.0

# An alternative to "make image" for people who build with a container engine. The binary is
# the same. The base images are named by tag and not by digest: pin them with @sha256:...
# where it matters.

# Go cross-compiles, so the builder runs on the machine's own platform.
FROM --platform=$BUILDPLATFORM golang:1.26.8 AS builder
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY api api
COPY cmd cmd
COPY controllers controllers
COPY internal internal
ARG TARGETOS
ARG TARGETARCH
ARG VERSION=unknown
# The flags are those of hack/dev.
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -mod=readonly -buildvcs=false -trimpath -ldflags "-s -w -X main.version=$VERSION" -o /manager ./cmd/manager

FROM gcr.io/distroless/static:nonroot
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="twilio-addon-operator" \
      org.opencontainers.image.description="Keeps the add-ons of Twilio phone numbers as Kubernetes objects declare them" \
      org.opencontainers.image.source="https://github.com/twilio-addon-operator/twilio-addon-operator" \
      org.opencontainers.image.url="https://github.com/twilio-addon-operator/twilio-addon-operator" \
      org.opencontainers.image.vendor="The twilio-addon-operator Authors" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
COPY LICENSE /licenses/LICENSE
COPY --from=builder /manager /manager
USER 65532:65532
ENTRYPOINT ["/manager"]
