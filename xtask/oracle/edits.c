/*
 * Reads the script of edits that README.md describes, and has each one done.
 */
#include "changes.h"
#include "edits.h"

static const char *script;
int line;

void
wrong(const char *what, int e)
{
	char where[1024];
	snprintf(where, sizeof (where), "%s:%d: %s", script, line, what);
	die(where, e);
}

static uint64_t
number(const char *s)
{
	char *end;
	if (strcmp(s, "-1") == 0)
		return (DMU_OBJECT_END);
	errno = 0;
	uint64_t n = strtoull(s, &end, 0);
	if (errno || end == s || *end || *s == '-')
		wrong(s, EINVAL);
	return (n);
}

/* The number of an object: itself, or /a/path, or /a/path<xattr>. */
static uint64_t
object(char *s)
{
	if (*s != '/')
		return (number(s));
	uint64_t obj, entry;
	char path[4096], *name, *rest = path;
	snprintf(path, sizeof (path), "%s", s);
	if (version == 0)
		wrong("a volume has no paths", EINVAL);
	check("ROOT", zap_lookup(os, MASTER_NODE_OBJ, ZFS_ROOT_OBJ, 8, 1, &obj));
	while ((name = strsep(&rest, "/")) != NULL) {
		char *hidden = strstr(name, "<xattr>");
		if (hidden)
			*hidden = '\0';
		if (*name) {
			check(name, zap_lookup(os, obj, name, 8, 1, &entry));
			obj = ZFS_DIRENT_OBJ(entry);
		}
		if (hidden && (obj = get(obj, ZPL_XATTR)) == 0)
			wrong(s, ENOENT);
	}
	return (obj);
}

static zpl_attr_t
attribute(const char *name)
{
	static const struct { const char *name; zpl_attr_t attr; } names[] = {
		{ "mode", ZPL_MODE }, { "uid", ZPL_UID }, { "gid", ZPL_GID },
		{ "nlink", ZPL_LINKS }, { "size", ZPL_SIZE },
	};
	for (size_t i = 0; i < sizeof (names) / sizeof (names[0]); i++)
		if (strcmp(name, names[i].name) == 0)
			return (names[i].attr);
	wrong(name, EINVAL);
	return (ZPL_END);
}

/* \xNN of a listing back to its byte, in place. */
static void
unescape(char *s)
{
	char *to = s;
	for (; *s; s++) {
		unsigned int c;
		if (s[0] == '\\' && sscanf(s, "\\x%2x", &c) == 1) {
			*to++ = c;
			s += 3;
		} else
			*to++ = *s;
	}
	*to = '\0';
}

static void
run(int n, char **w)
{
#define	IS(word, least, most) \
	(strcmp(w[0], word) == 0 && n > (least) && n <= (most) + 1)
	uint64_t obj = n > 1 ? IS("version", 1, 1) ? 0 : object(w[1]) : 0;
	if (IS("write", 4, 4))
		write_data(obj, number(w[2]), number(w[3]), number(w[4]), 0);
	else if (IS("fill", 4, 4))
		write_data(obj, number(w[2]), number(w[3]), number(w[4]), 1);
	else if (IS("free", 3, 3)) {
		check("free", dmu_free_long_range(os, obj, number(w[2]),
		    number(w[3])));
		grown(obj, 0);
	} else if (IS("truncate", 2, 2)) {
		check("free", dmu_free_long_range(os, obj, number(w[2]),
		    DMU_OBJECT_END));
		put_number(obj, ZPL_SIZE, number(w[2]));
		touch(obj);
	} else if (IS("blksz", 2, 2))
		block_size(obj, number(w[2]));
	else if (IS("set", 3, 3)) {
		uint64_t v = number(w[3]);
		zpl_attr_t attr = attribute(w[2]);
		if (attr == ZPL_MODE)
			v |= get(obj, ZPL_MODE) & S_IFMT;
		put_number(obj, attr, v);
	} else if (IS("saxattr", 4, 4))
		sa_xattr(obj, w[2], number(w[3]), number(w[4]));
	else if (IS("create", 3, 5))
		create(obj, w[2], number(w[3]), n > 4 ? number(w[4]) : 512,
		    n > 5 ? number(w[5]) : 0, "");
	else if (IS("symlink", 3, 3))
		create(obj, w[2], S_IFLNK | 0777, 512, 0, w[3]);
	else if (IS("bigzap", 2, 3)) {
		char name[512];
		for (uint64_t i = 0; i < number(w[2]); i++) {
			snprintf(name, sizeof (name), "%s%06llu",
			    n > 3 ? w[3] : "big", (u_longlong_t)i);
			create(obj, name, S_IFREG | 0644, 512, 0, "");
		}
	} else if (IS("link", 3, 3)) {
		uint64_t to = object(w[3]);
		enter(obj, w[2], to, get(to, ZPL_MODE));
		put_number(to, ZPL_LINKS, get(to, ZPL_LINKS) + 1);
	} else if (IS("unlink", 2, 2))
		unlink_one(obj, w[2]);
	else if (IS("unlinkall", 2, 2))
		unlink_all(obj, w[2]);
	else if (IS("zapadd", 3, 3))
		zap_put(obj, w[2], number(w[3]));
	else if (IS("zapdel", 2, 2))
		zap_drop(obj, w[2]);
	else if (IS("freeobj", 1, 1))
		check("free", dmu_free_long_object(os, obj));
	else if (IS("version", 1, 1))
		upgrade(number(w[1]));
	else
		wrong("no such edit, or not that many words", EINVAL);
}

void
edit(const char *dataset, const char *file)
{
	char *text = NULL;
	size_t room = 0;
	FILE *f = fopen(file, "r");
	script = file;
	if (f == NULL)
		die(file, errno);
	open_dataset(dataset);
	while (getline(&text, &room, f) > 0) {
		char *words[8], *save, *w;
		int n = 0;
		line++;
		for (w = strtok_r(text, " \t\n", &save); w && n < 8;
		    w = strtok_r(NULL, " \t\n", &save)) {
			unescape(w);
			words[n++] = w;
		}
		if (n > 0 && *words[0] != '#')
			run(n, words);
	}
	free(text);
	fclose(f);
	close_dataset();
}
