/*
 * Lists a dataset's file tree with the real SA and ZAP code of OpenZFS.
 * README.md says how the listing reads.
 */
#include "oracle.h"

#include <openssl/evp.h>

int show_raw = 0;
int list_errors = 0;

void
die(const char *w, int e)
{
	printf("FAIL %s: %d (%s)\n", w, e, strerror(e));
	fflush(stdout);
	_exit(1);
}

static void
esc(const char *s)
{
	for (; *s; s++) {
		unsigned char c = *s;
		if (c <= ' ' || c == '\\' || c >= 0x7f)
			printf("\\x%02x", c);
		else
			putchar(c);
	}
}

static void
hex(const void *p, size_t n)
{
	const unsigned char *c = p;
	for (size_t i = 0; i < n; i++)
		printf("%02x", c[i]);
}

static void
sha_object(objset_t *os, uint64_t obj, uint64_t size, char *out)
{
	EVP_MD_CTX *c = EVP_MD_CTX_new();
	unsigned char md[32];
	unsigned int l;
	EVP_DigestInit_ex(c, EVP_sha256(), NULL);
	char *b = malloc(1 << 20);
	for (uint64_t off = 0; off < size; off += 1 << 20) {
		uint64_t n = MIN(size - off, 1 << 20);
		int e = dmu_read(os, obj, off, n, b, 0);
		if (e) {
			snprintf(out, 65, "READ-ERROR-%d", e);
			return;
		}
		EVP_DigestUpdate(c, b, n);
	}
	free(b);
	EVP_DigestFinal_ex(c, md, &l);
	EVP_MD_CTX_free(c);
	for (int i = 0; i < 32; i++)
		sprintf(out + i * 2, "%02x", md[i]);
}

typedef struct attrs {
	uint64_t mode, uid, gid, size, links, rdev, parent, flags, gen, xattr;
	uint64_t mtime[2], atime[2], ctime[2], crtime[2];
	char *link;
	char *acl;
	int acllen;
	uint64_t aclcount;
	char *dx;
	int dxlen;
	zfs_acl_phys_t oldacl;
	int bonustype;
} attrs_t;

static sa_attr_type_t *T;
static uint64_t zpl_version;

static int
getattrs(objset_t *os, uint64_t obj, attrs_t *a)
{
	dmu_buf_t *db;
	dmu_object_info_t doi;
	memset(a, 0, sizeof (*a));
	int e = dmu_bonus_hold(os, obj, FTAG, &db);
	if (e)
		return (e);
	dmu_object_info_from_db(db, &doi);
	a->bonustype = doi.doi_bonus_type;
	dmu_buf_rele(db, FTAG);
	if (doi.doi_bonus_type != DMU_OT_SA && doi.doi_bonus_type != DMU_OT_ZNODE)
		return (ENOTSUP);
	sa_handle_t *h;
	e = sa_handle_get(os, obj, NULL, SA_HDL_PRIVATE, &h);
	if (e)
		return (e);
#define	G(at, f) do { int _e = sa_lookup(h, T[at], &a->f, sizeof (a->f)); \
	if (_e) { printf("# obj %llu missing attr %s: %d\n", \
	(u_longlong_t)obj, #at, _e); } } while (0)
	G(ZPL_MODE, mode); G(ZPL_UID, uid); G(ZPL_GID, gid);
	G(ZPL_SIZE, size); G(ZPL_LINKS, links); G(ZPL_PARENT, parent);
	G(ZPL_FLAGS, flags); G(ZPL_GEN, gen); G(ZPL_MTIME, mtime);
	G(ZPL_ATIME, atime); G(ZPL_CTIME, ctime); G(ZPL_CRTIME, crtime);
	if (S_ISCHR(a->mode) || S_ISBLK(a->mode)) G(ZPL_RDEV, rdev);
	if (sa_lookup(h, T[ZPL_XATTR], &a->xattr, 8)) a->xattr = 0;
	if (S_ISLNK(a->mode)) {
		int sz = 0;
		if (sa_size(h, T[ZPL_SYMLINK], &sz) == 0 && sz > 0) {
			a->link = calloc(1, sz + 1);
			e = sa_lookup(h, T[ZPL_SYMLINK], a->link, sz);
		} else if (a->size < (1 << 20)) {
			/* old style: after the znode_phys or in data */
			a->link = calloc(1, a->size + 1);
			if (a->bonustype == DMU_OT_ZNODE &&
			    sizeof (znode_phys_t) + a->size <= DN_OLD_MAX_BONUSLEN) {
				dmu_bonus_hold(os, obj, FTAG, &db);
				memcpy(a->link, (char *)db->db_data +
				    sizeof (znode_phys_t), a->size);
				dmu_buf_rele(db, FTAG);
			} else
				dmu_read(os, obj, 0, a->size, a->link, 0);
		}
	}
	if (sa_lookup(h, T[ZPL_DACL_COUNT], &a->aclcount, 8) == 0) {
		sa_size(h, T[ZPL_DACL_ACES], &a->acllen);
		if (a->acllen > 0) {
			a->acl = calloc(1, a->acllen);
			sa_lookup(h, T[ZPL_DACL_ACES], a->acl, a->acllen);
		}
	} else if (sa_lookup(h, T[ZPL_ZNODE_ACL], &a->oldacl,
	    sizeof (a->oldacl)) == 0) {
		a->aclcount = a->oldacl.z_acl_count;
		a->acllen = a->oldacl.z_acl_size;
		if (a->oldacl.z_acl_extern_obj == 0) {
			a->acl = calloc(1, a->acllen);
			memcpy(a->acl, a->oldacl.z_ace_data, MIN(a->acllen,
			    ZFS_ACE_SPACE));
		} else {
			a->acl = calloc(1, a->acllen);
			dmu_read(os, a->oldacl.z_acl_extern_obj, 0, a->acllen,
			    a->acl, 0);
		}
	}
	if (sa_size(h, T[ZPL_DXATTR], &a->dxlen) == 0 && a->dxlen > 0) {
		a->dx = calloc(1, a->dxlen);
		sa_lookup(h, T[ZPL_DXATTR], a->dx, a->dxlen);
	}
	sa_handle_destroy(h);
	return (0);
}

static int nent;

static void walk(objset_t *os, uint64_t obj, const char *path, int isx);

static void
show(objset_t *os, uint64_t obj, const char *path, int dtype, int isx)
{
	attrs_t a;
	int e = getattrs(os, obj, &a);
	if (e) {
		printf("ERR obj=%llu attr=%d ", (u_longlong_t)obj, e);
		esc(path);
		putchar('\n');
		list_errors++;
		return;
	}
	nent++;
	dmu_object_info_t doi;
	dmu_object_info(os, obj, &doi);
	char t = S_ISREG(a.mode) ? 'f' : S_ISDIR(a.mode) ? 'd' :
	    S_ISLNK(a.mode) ? 'l' : S_ISCHR(a.mode) ? 'c' :
	    S_ISBLK(a.mode) ? 'b' : S_ISFIFO(a.mode) ? 'p' :
	    S_ISSOCK(a.mode) ? 's' : '?';
	if (dtype >= 0 && dtype != (int)((a.mode >> 12) & 15)) {
		printf("ERR dirent type %d vs mode %llo: ", dtype,
		    (u_longlong_t)a.mode);
		list_errors++;
	}
	printf("%s%c ", isx ? "X" : "", t);
	esc(path);
	printf(" mode=%04llo uid=%llu gid=%llu nlink=%llu size=%llu mtime=%llu.%09llu",
	    (u_longlong_t)a.mode & 07777, (u_longlong_t)a.uid,
	    (u_longlong_t)a.gid, (u_longlong_t)a.links, (u_longlong_t)a.size,
	    (u_longlong_t)a.mtime[0], (u_longlong_t)a.mtime[1]);
	if (t == 'f') {
		char s[80];
		sha_object(os, obj, a.size, s);
		printf(" sha256=%s", s);
	}
	if (t == 'l' && a.link) {
		printf(" target=");
		esc(a.link);
	}
	if (t == 'c' || t == 'b')
		printf(" rdev=%llx", (u_longlong_t)a.rdev);
	if (show_raw) {
		printf(" obj=%llu parent=%llu gen=%llu flags=%llx blksz=%u "
		    "indblk=%u nblk512=%llu dnsize=%llu bonus=%u/%u",
		    (u_longlong_t)obj, (u_longlong_t)a.parent,
		    (u_longlong_t)a.gen, (u_longlong_t)a.flags,
		    doi.doi_data_block_size, doi.doi_metadata_block_size,
		    (u_longlong_t)doi.doi_physical_blocks_512,
		    (u_longlong_t)doi.doi_dnodesize, doi.doi_bonus_type,
		    (unsigned)doi.doi_bonus_size);
		printf(" acl=%llu:", (u_longlong_t)a.aclcount);
		hex(a.acl, a.acl ? a.acllen : 0);
	}
	if (a.dxlen) {
		nvlist_t *nv;
		printf(" saxattr=");
		if (nvlist_unpack(a.dx, a.dxlen, &nv, 0) == 0) {
			nvpair_t *p = NULL;
			while ((p = nvlist_next_nvpair(nv, p))) {
				uchar_t *v;
				uint_t n;
				nvpair_value_byte_array(p, &v, &n);
				esc(nvpair_name(p));
				printf(":");
				hex(v, n);
				printf(";");
			}
		} else
			printf("UNPACK-FAIL");
	}
	putchar('\n');
	if (a.xattr)  {
		char *p2;
		asprintf(&p2, "%s<xattr>", path);
		walk(os, a.xattr, p2, 1);
		free(p2);
	}
	if (t == 'd')
		walk(os, obj, path, isx);
}

struct ent { char *name; uint64_t v; };
static int
cmpent(const void *a, const void *b)
{
	return (strcmp(((struct ent *)a)->name, ((struct ent *)b)->name));
}

static void
walk(objset_t *os, uint64_t obj, const char *path, int isx)
{
	zap_cursor_t zc;
	struct ent *v = NULL;
	int n = 0, cap = 0;
	zap_attribute_t *za;
#ifdef ZAP_ALLOC
	za = zap_attribute_long_alloc();
#else
	za = malloc(sizeof (*za) + 4096);
#endif
	int e;
	for (zap_cursor_init(&zc, os, obj);
	    (e = zap_cursor_retrieve(&zc, za)) == 0; zap_cursor_advance(&zc)) {
		if (n == cap) {
			cap = cap ? cap * 2 : 64;
			v = realloc(v, cap * sizeof (*v));
		}
		v[n].name = strdup(za->za_name);
		/* check that a lookup by name (hash) works too */
		uint64_t lv = 0;
		int le = zap_lookup(os, obj, za->za_name, 8, 1, &lv);
		if (le || lv != za->za_first_integer) {
			printf("ERR zap_lookup %d dir=%llu ", le,
			    (u_longlong_t)obj);
			esc(za->za_name);
			putchar('\n');
			list_errors++;
		}
		v[n++].v = za->za_first_integer;
	}
	if (e != ENOENT) {
		printf("ERR zap cursor dir=%llu: %d\n", (u_longlong_t)obj, e);
		list_errors++;
	}
	zap_cursor_fini(&zc);
	attrs_t a;
	if (getattrs(os, obj, &a) == 0 && a.size != n + 2) {
		printf("ERR dir size attr %llu != entries+2 %d obj=%llu\n",
		    (u_longlong_t)a.size, n + 2, (u_longlong_t)obj);
		list_errors++;
	}
	qsort(v, n, sizeof (*v), cmpent);
	for (int i = 0; i < n; i++) {
		char *p;
		asprintf(&p, "%s/%s", strcmp(path, "/") ? path : "", v[i].name);
		show(os, ZFS_DIRENT_OBJ(v[i].v), p, ZFS_DIRENT_TYPE(v[i].v), isx);
		free(p);
		free(v[i].name);
	}
	free(v);
}

sa_attr_type_t *
attribute_table(objset_t *os, uint64_t *version)
{
	sa_attr_type_t *table;
	uint64_t sa = 0;
	int e = zap_lookup(os, MASTER_NODE_OBJ, ZPL_VERSION_STR, 8, 1, version);
	if (e)
		die("VERSION", e);
	if (*version >= ZPL_VERSION_SA) {
		e = zap_lookup(os, MASTER_NODE_OBJ, ZFS_SA_ATTRS, 8, 1, &sa);
		if (e)
			die("SA_ATTRS", e);
	}
	e = sa_setup(os, sa, zfs_attr_table, ZPL_END, &table);
	if (e)
		die("sa_setup", e);
	return (table);
}

void
list(const char *ds)
{
	objset_t *os;
	int e = dmu_objset_hold(ds, FTAG, &os);
	if (e)
		die("dmu_objset_hold", e);
	if (dmu_objset_type(os) == DMU_OST_ZVOL) {
		uint64_t sz = 0;
		char s[80];
		e = zap_lookup(os, 2, "size", 8, 1, &sz);
		dmu_object_info_t doi;
		dmu_object_info(os, 1, &doi);
		sha_object(os, 1, sz, s);
		printf("zvol %s size=%llu err=%d volblocksize=%u alloc512=%llu "
		    "sha256=%s\n", ds, (u_longlong_t)sz, e,
		    doi.doi_data_block_size,
		    (u_longlong_t)doi.doi_physical_blocks_512, s);
		dmu_objset_rele(os, FTAG);
		return;
	}
	uint64_t root, dq;
	T = attribute_table(os, &zpl_version);
	e = zap_lookup(os, MASTER_NODE_OBJ, ZFS_ROOT_OBJ, 8, 1, &root);
	if (e)
		die("ROOT", e);
	e = zap_lookup(os, MASTER_NODE_OBJ, ZFS_UNLINKED_SET, 8, 1, &dq);
	if (e)
		printf("# no DELETE_QUEUE: %d\n", e);
	if (show_raw) {
		zap_cursor_t zc;
		zap_attribute_t *za = malloc(sizeof (*za) + 4096);
#ifdef ZAP_ALLOC
		za = zap_attribute_alloc();
#endif
		for (zap_cursor_init(&zc, os, MASTER_NODE_OBJ);
		    zap_cursor_retrieve(&zc, za) == 0; zap_cursor_advance(&zc))
			printf("# master %s = %llx\n", za->za_name,
			    (u_longlong_t)za->za_first_integer);
		zap_cursor_fini(&zc);
	}
	printf("filesystem %s zplversion=%llu\n", ds, (u_longlong_t)zpl_version);
	nent = 0;
	show(os, root, "/", -1, 0);
	printf("# %d entries, %d errors\n", nent, list_errors);
	dmu_objset_rele(os, FTAG);
}
