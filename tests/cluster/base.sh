#!/bin/sh
# Makes a base image where no public registry can be reached: this machine's Debian and its Python, as a tar file.
# usage: base.sh OUT.tar [PACKAGE…]    (as root; needs debootstrap; takes the mirror from apt's own configuration)
set -eu
out=$1
shift
packages=$(printf ',%s' ca-certificates python3 python3-venv "$@")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
# shellcheck disable=SC1091
release=$(. /etc/os-release && echo "$VERSION_CODENAME")
mirror=$(apt-get indextargets --format '$(SITE) $(CODENAME)' 'Created-By: Packages' | awk -v r="$release" '$2 == r {print $1; exit}')
[ -n "$mirror" ] || { echo "apt knows no mirror of $release: apt-get update" >&2; exit 1; }
debootstrap --variant=minbase --include="${packages#,}" "$release" "$folder/root" "$mirror" >"$folder/log" 2>&1 ||
	{ tail -5 "$folder/log" >&2; exit 1; }
# What debootstrap copies from this machine or remembers of it, and what is not needed.
rm -rf "$folder/root/etc/resolv.conf" "$folder/root/etc/hostname" "$folder/root/var/log/bootstrap.log" \
	"$folder"/root/var/cache/apt/* "$folder"/root/var/lib/apt/lists/* "$folder"/root/var/cache/debconf/*
: >"$folder/root/etc/apt/sources.list"
tar -C "$folder/root" -cf "$out.part" .
mv "$out.part" "$out"
