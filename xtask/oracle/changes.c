/*
 * Changes to a file system or volume with the real DMU, ZAP and SA code of
 * OpenZFS.  What the kernel does around them (times, link counts, sizes of
 * directories, trivial ACLs) is done here, the way zfs_vnops.c and zfs_znode.c
 * do it.
 */
#include "changes.h"

objset_t *os;
uint64_t version;
static sa_attr_type_t *T;
static char tag[] = "changes";

void
open_dataset(const char *dataset)
{
	check("own", dmu_objset_own(dataset, DMU_OST_ANY, B_FALSE, B_FALSE,
	    tag, &os));
	if (dmu_objset_type(os) == DMU_OST_ZFS)
		T = attribute_table(os, &version);
}

void
close_dataset(void)
{
	dmu_objset_disown(os, B_FALSE, tag);
}

void
check(const char *what, int e)
{
	if (e)
		wrong(what, e);
}

/* Assigns a transaction that holds what the caller said. */
static dmu_tx_t *
go(dmu_tx_t *tx)
{
	check("dmu_tx_assign", dmu_tx_assign(tx, TXG_WAIT));
	return (tx);
}

/* Attributes */

static sa_handle_t *
handle(uint64_t obj)
{
	sa_handle_t *h;
	if (version == 0)
		wrong("a volume has no attributes", EINVAL);
	check("sa_handle_get", sa_handle_get(os, obj, NULL, SA_HDL_PRIVATE, &h));
	return (h);
}

uint64_t
get(uint64_t obj, zpl_attr_t attr)
{
	uint64_t v = 0;
	sa_handle_t *h = handle(obj);
	int e = sa_lookup(h, T[attr], &v, sizeof (v));
	if (e && attr != ZPL_XATTR)	/* the one that may be missing */
		check("sa_lookup", e);
	sa_handle_destroy(h);
	return (v);
}

/* Sets an attribute, or removes it if it has no length. */
static void
put(uint64_t obj, zpl_attr_t attr, void *value, int length)
{
	sa_handle_t *h = handle(obj);
	dmu_tx_t *tx = dmu_tx_create(os);
	dmu_tx_hold_sa(tx, h, B_TRUE);
	go(tx);
	check("sa_update", length ? sa_update(h, T[attr], value, length, tx) :
	    sa_remove(h, T[attr], tx));
	dmu_tx_commit(tx);
	sa_handle_destroy(h);
}

void
put_number(uint64_t obj, zpl_attr_t attr, uint64_t value)
{
	put(obj, attr, &value, sizeof (value));
}

/* The time of an edit is that of its line, so that listings are the same. */
static void
now(uint64_t *time)
{
	time[0] = 1700000000 + line;
	time[1] = line;
}

void
touch(uint64_t obj)
{
	uint64_t time[2];
	now(time);
	put(obj, ZPL_MTIME, time, sizeof (time));
	put(obj, ZPL_CTIME, time, sizeof (time));
}

void
zap_put(uint64_t zap, const char *name, uint64_t value)
{
	dmu_tx_t *tx = dmu_tx_create(os);
	dmu_tx_hold_zap(tx, zap, B_TRUE, name);
	go(tx);
	check("zap_add", zap_add(os, zap, name, 8, 1, &value, tx));
	dmu_tx_commit(tx);
}

void
zap_drop(uint64_t zap, const char *name)
{
	dmu_tx_t *tx = dmu_tx_create(os);
	dmu_tx_hold_zap(tx, zap, B_FALSE, name);
	go(tx);
	check("zap_remove", zap_remove(os, zap, name, tx));
	dmu_tx_commit(tx);
}

void
enter(uint64_t dir, const char *name, uint64_t obj, uint64_t mode)
{
	zap_put(dir, name, (mode & S_IFMT) >> 12 << 60 | obj);
	put_number(dir, ZPL_SIZE, get(dir, ZPL_SIZE) + 1);
	if (S_ISDIR(mode))
		put_number(dir, ZPL_LINKS, get(dir, ZPL_LINKS) + 1);
	touch(dir);
}

void
unlink_one(uint64_t dir, const char *name)
{
	uint64_t entry;
	check(name, zap_lookup(os, dir, name, 8, 1, &entry));
	uint64_t obj = ZFS_DIRENT_OBJ(entry), mode = get(obj, ZPL_MODE);
	uint64_t links = get(obj, ZPL_LINKS), xattr = get(obj, ZPL_XATTR);
	if (S_ISDIR(mode)) {
		unlink_all(obj, "");
		links = 1;
		put_number(dir, ZPL_LINKS, get(dir, ZPL_LINKS) - 1);
	}
	zap_drop(dir, name);
	put_number(dir, ZPL_SIZE, get(dir, ZPL_SIZE) - 1);
	touch(dir);
	if (links > 1) {
		put_number(obj, ZPL_LINKS, links - 1);
		return;
	}
	if (xattr) {
		unlink_all(xattr, "");
		check("free", dmu_free_long_object(os, xattr));
	}
	check("free", dmu_free_long_object(os, obj));
}

void
unlink_all(uint64_t dir, const char *prefix)
{
	zap_cursor_t zc;
	zap_attribute_t *za = malloc(sizeof (*za) + 4096);
	char **names = NULL;
	size_t n = 0;
#ifdef ZAP_ALLOC
	za = zap_attribute_long_alloc();
#endif
	for (zap_cursor_init(&zc, os, dir); zap_cursor_retrieve(&zc, za) == 0;
	    zap_cursor_advance(&zc)) {
		if (strncmp(za->za_name, prefix, strlen(prefix)))
			continue;
		names = realloc(names, (n + 1) * sizeof (*names));
		names[n++] = strdup(za->za_name);
	}
	zap_cursor_fini(&zc);
	for (size_t i = 0; i < n; i++) {
		unlink_one(dir, names[i]);
		free(names[i]);
	}
	free(names);
}

/* New objects */

static void
trivial_acl(uint64_t mode, zfs_ace_hdr_t *ace)
{
	static const uint16_t who[3] = { ACE_OWNER,
	    ACE_GROUP | ACE_IDENTIFIER_GROUP, ACE_EVERYONE };
	for (int i = 0; i < 3; i++, mode <<= 3) {
		ace[i].z_type = ACE_ACCESS_ALLOWED_ACE_TYPE;
		ace[i].z_flags = who[i];
		ace[i].z_access_mask = ACE_READ_ACL | ACE_READ_ATTRIBUTES |
		    ACE_READ_NAMED_ATTRS | ACE_SYNCHRONIZE |
		    (i ? 0 : ACE_WRITE_ACL | ACE_WRITE_OWNER |
		    ACE_WRITE_ATTRIBUTES | ACE_WRITE_NAMED_ATTRS) |
		    (mode & S_IRUSR ? ACE_READ_DATA : 0) |
		    (mode & S_IWUSR ? ACE_WRITE_DATA | ACE_APPEND_DATA : 0) |
		    (mode & S_IWUSR && S_ISDIR(mode) ? ACE_DELETE_CHILD : 0) |
		    (mode & S_IXUSR ? ACE_EXECUTE : 0);
	}
}

/* As zfs_mknode(). */
void
create(uint64_t dir, const char *name, uint64_t mode, uint64_t dnsize,
    uint64_t obj, const char *target)
{
	uint64_t time[2], size = strlen(target), links = 1, zero = 0, aces = 3;
	uint64_t gen, pflags = ZFS_ARCHIVE | ZFS_AV_MODIFIED | ZFS_ACL_TRIVIAL;
	zfs_ace_hdr_t acl[3];
	dmu_buf_t *db;
	sa_handle_t *h;
	sa_bulk_attr_t *bulk = calloc(ZPL_END, sizeof (*bulk));
	int n = 0, isdir = S_ISDIR(mode);

	if (version < ZPL_VERSION_SA)
		wrong("new objects need ZPL version 5", ENOTSUP);
	if ((mode & S_IFMT) == 0 || (S_ISLNK(mode) && *target == '\0'))
		wrong("a mode without a type, or a symlink without a target",
		    EINVAL);
	if (dnsize < DNODE_MIN_SIZE || dnsize > DNODE_MAX_SIZE ||
	    dnsize % DNODE_MIN_SIZE)
		wrong("no such size of a dnode", EINVAL);
	now(time);
	if (isdir) {
		size = links = 2;
		pflags |= ZFS_ACL_AUTO_INHERIT;
	}
	if ((mode & 0111) == 0111)
		pflags |= ZFS_NO_EXECS_DENIED;
	trivial_acl(mode, acl);
	if (obj)	/* a number that has just been freed stays so until then */
		txg_wait_synced(dmu_objset_pool(os), 0);

	dmu_tx_t *tx = dmu_tx_create(os);
	dmu_tx_hold_sa_create(tx, 256 + strlen(target));
	if (isdir)
		dmu_tx_hold_zap(tx, DMU_NEW_OBJECT, B_FALSE, NULL);
	go(tx);
	int bonus = DN_BONUS_SIZE(dnsize);
	if (isdir && obj)
		check("zap_create_claim", zap_create_claim_norm_dnsize(os, obj,
		    0, DMU_OT_DIRECTORY_CONTENTS, DMU_OT_SA, bonus, dnsize, tx));
	else if (isdir)
		obj = zap_create_norm_dnsize(os, 0, DMU_OT_DIRECTORY_CONTENTS,
		    DMU_OT_SA, bonus, dnsize, tx);
	else if (obj)
		check("dmu_object_claim", dmu_object_claim_dnsize(os, obj,
		    DMU_OT_PLAIN_FILE_CONTENTS, 0, DMU_OT_SA, bonus, dnsize, tx));
	else
		obj = dmu_object_alloc_dnsize(os, DMU_OT_PLAIN_FILE_CONTENTS, 0,
		    DMU_OT_SA, bonus, dnsize, tx);
	gen = dmu_tx_get_txg(tx);
	check("sa_buf_hold", sa_buf_hold(os, obj, NULL, &db));
	check("sa_handle_get_from_db",
	    sa_handle_get_from_db(os, db, NULL, SA_HDL_PRIVATE, &h));
#define	ADD(attr, value, length) \
	SA_ADD_BULK_ATTR(bulk, n, T[attr], NULL, value, length)
	ADD(ZPL_MODE, &mode, 8);
	ADD(ZPL_SIZE, &size, 8);
	ADD(ZPL_GEN, &gen, 8);
	ADD(ZPL_UID, &zero, 8);
	ADD(ZPL_GID, &zero, 8);
	ADD(ZPL_PARENT, &dir, 8);
	ADD(ZPL_FLAGS, &pflags, 8);
	ADD(ZPL_ATIME, time, 16);
	ADD(ZPL_MTIME, time, 16);
	ADD(ZPL_CTIME, time, 16);
	ADD(ZPL_CRTIME, time, 16);
	ADD(ZPL_LINKS, &links, 8);
	if (S_ISBLK(mode) || S_ISCHR(mode))
		ADD(ZPL_RDEV, &zero, 8);
	ADD(ZPL_DACL_COUNT, &aces, 8);
	ADD(ZPL_DACL_ACES, acl, sizeof (acl));
	check("sa_replace_all", sa_replace_all_by_template(h, bulk, n, tx));
	if (S_ISLNK(mode))
		check("sa_update", sa_update(h, T[ZPL_SYMLINK], (void *)target,
		    strlen(target), tx));
	dmu_tx_commit(tx);
	sa_handle_destroy(h);
	free(bulk);
	enter(dir, name, obj, mode);
}

/* Data */

/* Pseudo-random bytes that only the seed and the offset decide. */
static void
noise(unsigned char *b, uint64_t offset, uint64_t n, uint64_t seed)
{
	for (uint64_t i = 0; i < n; i++) {
		uint64_t x = (offset + i) / 8 + seed * 0x9e3779b97f4a7c15ULL + 1;
		x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
		x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
		b[i] = (x ^ (x >> 31)) >> ((offset + i) % 8 * 8);
	}
}

void
grown(uint64_t obj, uint64_t end)
{
	if (version == 0)
		return;
	if (get(obj, ZPL_SIZE) < end)
		put_number(obj, ZPL_SIZE, end);
	touch(obj);
}

void
write_data(uint64_t obj, uint64_t offset, uint64_t length, uint64_t what,
    int fill)
{
	uint64_t end = offset + length;
	if (length > 1ULL << 40 || end < offset)
		wrong("too long", EINVAL);
	unsigned char *b = malloc(1 << 20);
	while (offset < end) {
		uint64_t n = MIN(end - offset, 1 << 20);
		if (fill)
			memset(b, what, n);
		else
			noise(b, offset, n, what);
		dmu_tx_t *tx = dmu_tx_create(os);
		dmu_tx_hold_write(tx, obj, offset, n);
		go(tx);
		dmu_write(os, obj, offset, n, b, tx);
		dmu_tx_commit(tx);
		offset += n;
	}
	free(b);
	grown(obj, end);
}

void
block_size(uint64_t obj, uint64_t size)
{
	dmu_tx_t *tx = dmu_tx_create(os);
	dmu_tx_hold_write(tx, obj, 0, size);
	go(tx);
	check("dmu_object_set_blocksize",
	    dmu_object_set_blocksize(os, obj, size, 0, tx));
	dmu_tx_commit(tx);
}

void
sa_xattr(uint64_t obj, const char *name, uint64_t length, uint64_t seed)
{
	sa_handle_t *h = handle(obj);
	dmu_object_info_t doi;
	nvlist_t *list = NULL;
	int packed_size;
	sa_object_info(h, &doi);
	if (doi.doi_bonus_type != DMU_OT_SA || length > 32768)
		wrong("no such xattr can be in the attributes", EINVAL);
	if (sa_size(h, T[ZPL_DXATTR], &packed_size) == 0) {
		char *packed = malloc(packed_size);
		check("sa_lookup",
		    sa_lookup(h, T[ZPL_DXATTR], packed, packed_size));
		check("nvlist", nvlist_unpack(packed, packed_size, &list, 0));
		free(packed);
	} else
		list = fnvlist_alloc();
	sa_handle_destroy(h);
	if (length) {
		uchar_t *value = malloc(length);
		noise(value, 0, length, seed);
		fnvlist_add_byte_array(list, name, value, length);
		free(value);
	} else
		check(name, nvlist_remove_all(list, name));
	if (nvlist_empty(list)) {
		put(obj, ZPL_DXATTR, NULL, 0);
	} else {
		char *buf = NULL;
		size_t size;
		check("nvlist", nvlist_pack(list, &buf, &size, NV_ENCODE_XDR, 0));
		put(obj, ZPL_DXATTR, buf, size);
		free(buf);
	}
	fnvlist_free(list);
	touch(obj);
}

/* As zfs_set_version(). */
void
upgrade(uint64_t to)
{
	if (to < version || to > ZPL_VERSION)
		wrong("no way to that version", EINVAL);
	int sa = to >= ZPL_VERSION_SA && version < ZPL_VERSION_SA;
	dmu_tx_t *tx = dmu_tx_create(os);
	dmu_tx_hold_zap(tx, MASTER_NODE_OBJ, B_TRUE, ZFS_SA_ATTRS);
	dmu_tx_hold_zap(tx, DMU_NEW_OBJECT, B_FALSE, NULL);
	go(tx);
	check("VERSION", zap_update(os, MASTER_NODE_OBJ, ZPL_VERSION_STR, 8, 1,
	    &to, tx));
	if (sa) {
		uint64_t obj = zap_create(os, DMU_OT_SA_MASTER_NODE,
		    DMU_OT_NONE, 0, tx);
		check("SA_ATTRS", zap_add(os, MASTER_NODE_OBJ, ZFS_SA_ATTRS, 8,
		    1, &obj, tx));
		check("sa_set_sa_object", sa_set_sa_object(os, obj));
	}
	dmu_tx_commit(tx);
	T = attribute_table(os, &version);
}
