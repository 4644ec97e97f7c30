#!/bin/sh
# Installs programs with their manual pages and completions: install.sh BIN PREFIX PROGRAM...
# DESTDIR stands in front of PREFIX, for whoever makes a package.
set -eu
bin=$1 share=${DESTDIR:-}$2/share into=${DESTDIR:-}$2/bin
shift 2
umask 022
mkdir -p "$into" "$share/man/man1" "$share/bash-completion/completions" \
	"$share/zsh/site-functions" "$share/fish/vendor_completions.d"
for program; do
	install -m 755 "$bin/$program" "$into/$program"
	"$bin/$program" --man >"$share/man/man1/$program.1"
	"$bin/$program" --completions bash >"$share/bash-completion/completions/$program"
	"$bin/$program" --completions zsh >"$share/zsh/site-functions/_$program"
	"$bin/$program" --completions fish >"$share/fish/vendor_completions.d/$program.fish"
done
