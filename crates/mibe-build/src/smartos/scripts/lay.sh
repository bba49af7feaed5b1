# shellcheck shell=sh
# Makes room in a zone for what an archive then lays: the zone's own shell runs this, in its root, so that no link leads out of it.
# "entries" calls d (index, mode, path) for each directory and f (index, path) for each file or link, twice: nothing is changed
# before all of it can be. Indexes, as names may hold anything.
cd / || exit 1
umask 022
changing=no
clashes=0

clash() {
	printf 'mibe-clash %s %s\n' "$1" "$2"
	clashes=1
}

d() {
	if [ -d "$3" ]; then
		return
	fi
	if [ -e "$3" ]; then
		clash "$1" file
	elif [ -h "$3" ]; then
		clash "$1" link
	elif [ $changing = yes ]; then
		mkdir "$3" && chown 0:0 "$3" && chmod "$2" "$3" || exit 1
	fi
}

f() {
	if [ -d "$2" ] && [ ! -h "$2" ]; then
		clash "$1" directory
	elif [ $changing = yes ]; then
		rm -f "$2" || exit 1
	fi
}

lay() {
	entries
	[ $clashes = 0 ] || exit 1
	changing=yes
	entries
}
