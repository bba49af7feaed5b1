# shellcheck shell=sh
# Takes out of a zone that is stopped what is no part of an image. Runs in the global zone, so every directory is entered by itself,
# and no link is: nothing outside of the zone's dataset can be reached, whatever the zone's programs have left there. Nothing runs in
# the zone that could change a directory between the look and the step.
#
# $1: the zone's path. $2: the name that it had, as sed takes it. What follows the functions are their calls.
set -u
# Files of a zone hold bytes, which need not be words of any language.
LC_ALL=C
export LC_ALL
name=$2
unset CDPATH
cd "$1" || exit 1
if [ -h root ] || [ ! -d root ]; then
	echo "there is no root in $1" >&2
	exit 1
fi

root=$PWD/root

# Patterns are expanded, and not split at blanks.
IFS=

# Calls $3 with the name of each entry that the pattern $2 finds below the directory $1.
each() {
	(
		cd "./$1" || exit 1
		walk "$2" "$3"
	) || exit 1
}

walk() {
	case $1 in
		*/*)
			for directory in ${1%%/*}; do
				if [ -d "./$directory" ] && [ ! -h "./$directory" ]; then
					(
						cd "./$directory" || exit 1
						walk "${1#*/}" "$2"
					) || exit 1
				fi
			done
			;;
		*)
			for entry in $1 ; do
				if [ -e "./$entry" ] || [ -h "./$entry" ]; then
					"$2" "$entry" || exit 1
				fi
			done
			;;
	esac
}

# Below: what can be done with an entry of the current directory.

take_away() {
	rm -rf "./$1" || return 1
	printf 'removed %s/%s\n' "${PWD#"$root"}" "$1"
}

take_away_silently() {
	rm -rf "./$1"
}

take_keys_away() {
	rm -rf "./$1" && printf 'mibe-keys %s\n' "$1"
}

# Every file below goes, directories stay.
empty_files() {
	if [ -d "./$1" ] && [ ! -h "./$1" ]; then
		find "./$1" ! -type d -exec rm -f {} +
	fi
}

# All that is in it goes.
empty() {
	if [ -d "./$1" ] && [ ! -h "./$1" ]; then
		(
			cd "./$1" || exit 1
			for entry in * .*; do
				case $entry in
					. | ..) ;;
					*) [ ! -e "./$entry" ] && [ ! -h "./$entry" ] || rm -rf "./$entry" || exit 1 ;;
				esac
			done
		)
	fi
}

# A file keeps its mode and its owner, and loses what is in it.
truncate_file() {
	if [ -f "./$1" ] && [ ! -h "./$1" ] && [ -s "./$1" ]; then
		: > "./$1"
		printf 'emptied %s/%s\n' "${PWD#"$root"}" "$1"
	fi
}

truncate_files() {
	if [ -d "./$1" ] && [ ! -h "./$1" ]; then
		find "./$1" -type f -exec sh -c 'for file; do : > "$file" || exit 1; done' sh {} +
	fi
}

# The name that the build machine had goes out of a table of names.
without_name() {
	# A table of that size is none, and would be in the memory of this shell.
	if [ -f "./$1" ] && [ ! -h "./$1" ] && [ -n "$(find "./$1" -size -256)" ]; then
		before=$(cat "./$1")
		after=$(sed -e "s/[[:space:]]$name\$//" -e "s/[[:space:]]$name\([[:space:]]\)/\1/" "./$1") || return 1
		if [ "$before" != "$after" ]; then
			printf '%s\n' "$after" > "./$1"
			printf 'took the name of the build machine out of %s/%s\n' "${PWD#"$root"}" "$1"
		fi
	fi
}

# Puts back what the build replaced, unless the image's author has changed it since; $1 is the folder that holds it.
put_back_in() {
	if [ -d "./$1" ] && [ ! -h "./$1" ]; then
		(
			cd "./$1" || exit 1
			put_back
		)
	fi
}

put_back() {
	for file in repositories.conf repositories.conf.ours; do
		[ -f "./$file" ] && [ ! -h "./$file" ] && [ -n "$(find "./$file" -size -256)" ] || return 0
	done
	saved=$(cat ./repositories.conf)
	ours=$(cat ./repositories.conf.ours)
	(
		cd .. || exit 1
		for directory in opt local etc pkgin; do
			[ -d "./$directory" ] && [ ! -h "./$directory" ] || exit 0
			cd "./$directory" || exit 1
		done
		if [ -f ./repositories.conf ] && [ ! -h ./repositories.conf ] \
			&& [ "$(cat ./repositories.conf)" = "$ours" ]; then
			printf '%s\n' "$saved" > ./repositories.conf
			echo "put repositories.conf back"
		fi
	)
}

