#!/usr/bin/env bash
# Copyright The twilio-addon-operator Authors.
# SPDX-License-Identifier: Apache-2.0

# Compiles a program, the manager if none is named, for each platform and writes its image
# as an OCI archive: dist/image.tar, or dist/PROGRAM.tar. Needs no container engine and no
# registry. The same commit gives the same bytes on every machine.
#
#   build.sh BIN IMAGE VERSION PLATFORMS LDFLAGS [PROGRAM]
#
# BIN is the folder of the tools, PLATFORMS a list with commas. SOURCE_DATE_EPOCH sets the
# time in the labels, in seconds since 1970; the default is when the commit was made.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

bin=$1 image=$2 version=$3 platforms=$4 ldflags=$5 program=${6:-manager}
archive=dist/image.tar
[ "$program" = manager ] || archive=dist/$program.tar
created=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
revision=$(git rev-parse HEAD 2>/dev/null || true)

"$bin/dev" build -name "compiling the image builder" -module hack/image -o "$bin/image" .

managers=()
for platform in ${platforms//,/ }; do
	manager=dist/image/$platform/$program
	mkdir -p "$(dirname "$manager")"
	GOOS=${platform%%/*} GOARCH=${platform##*/} "$bin/dev" build -name "compiling the $program for $platform" \
		-ldflags "$ldflags" -o "$PWD/$manager" "./cmd/$program"
	managers+=("--manager=$platform=$manager")
done

# Lists what goes into the binaries: the modules, and Go itself. The certificates are a
# module of the image builder.
modules() {
	local platform format='{{with .Module}}{{if not .Main}}{{.Path}}@{{.Version}} {{.Dir}}{{end}}{{end}}'
	for platform in ${platforms//,/ }; do
		GOOS=${platform%%/*} GOARCH=${platform##*/} CGO_ENABLED=0 go list -mod=readonly -deps -f "$format" "./cmd/$program"
	done
	go list -C hack/image -mod=readonly -f "$format" golang.org/x/crypto/x509roots/fallback/bundle
	echo "$(go env GOVERSION) $(go env GOROOT)"
}

# A license may ask to go along with a copy, and Apache's with the NOTICE.
licenses=dist/image/licenses
rm -rf "$licenses"
mkdir -p "$licenses"
cp LICENSE "$licenses/"
modules | sort -u >dist/image/modules
while read -r module source; do
	mkdir -p "$licenses/third-party/$module"
	found=""
	for file in "$source"/LICENSE* "$source"/COPYING* "$source"/NOTICE*; do
		[ -f "$file" ] || continue
		cp "$file" "$licenses/third-party/$module/"
		case $file in *NOTICE*) ;; *) found=yes ;; esac
	done
	if [ -z "$found" ]; then
		echo "image: $module has no license file" >&2
		exit 1
	fi
done <dist/image/modules

digest=$("$bin/image" build "${managers[@]}" --program="$program" --name="$image" --version="$version" \
	--revision="$revision" --created="$created" --licenses="$licenses" --output="$archive")
echo "$archive holds $image for $platforms: $digest"
