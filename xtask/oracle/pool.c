/*
 * The pool that streams are received into: made anew for each run, and gone
 * with the process.
 */
#include "oracle.h"

#include <sys/dmu_recv.h>
#include <sys/zfs_file.h>
#include <sys/dsl_prop.h>
#include <zfeature_common.h>
#include <fcntl.h>

extern char *spa_config_path;

static uint64_t last_toguid;
char last_snap[512];

void
receive(const char *file, int idx)
{
	dmu_replay_record_t drr;
	char fs[256], snap[256];
	zfs_file_t *fp;
	int fd = open(file, O_RDONLY);
	if (fd < 0)
		die(file, errno);
	close(fd);
	int e = zfs_file_open(file, O_RDONLY, 0, &fp);
	if (e)
		die("zfs_file_open", e);
	ssize_t resid;
	e = zfs_file_read(fp, &drr, sizeof (drr), &resid);
	if (e || resid)
		die("short BEGIN", e);
	struct drr_begin *b = &drr.drr_u.drr_begin;
	const char *at = strchr(b->drr_toname, '@');
	snprintf(fs, sizeof (fs), "%s/r%d", POOL, idx);
	snprintf(snap, sizeof (snap), "%s", at ? at + 1 : "s");
	printf("# stream %s toname=%s type=%d versioninfo=%llx toguid=%llx "
	    "fromguid=%llx\n", file, b->drr_toname, b->drr_type,
	    (u_longlong_t)b->drr_versioninfo, (u_longlong_t)b->drr_toguid,
	    (u_longlong_t)b->drr_fromguid);
	nvlist_t *beginnv = NULL;
	dmu_recv_cookie_t drc;
	offset_t off = sizeof (drr);
	char *origin = NULL;
	if (b->drr_fromguid != 0) {
		if (b->drr_fromguid != last_toguid)
			die("incremental: fromguid is not the preceding stream",
			    EINVAL);
		origin = last_snap;	/* receive as a clone, as imgadm does */
	}
#ifdef ZFS21
	e = dmu_recv_begin(fs, snap, &drr, B_FALSE, B_FALSE, NULL,
	    beginnv, origin, &drc, fp, &off);
#else
	e = dmu_recv_begin(fs, snap, &drr, B_FALSE, B_FALSE, B_FALSE, NULL,
	    beginnv, origin, &drc, fp, &off);
#endif
	if (e)
		die("dmu_recv_begin", e);
	e = dmu_recv_stream(&drc, &off);
	if (e)
		die("dmu_recv_stream", e);
	e = dmu_recv_end(&drc, NULL);
	if (e)
		die("dmu_recv_end", e);
	zfs_file_close(fp);
	last_toguid = b->drr_toguid;
	snprintf(last_snap, sizeof (last_snap), "%s@%s", fs, snap);
	printf("# received %s ok, %llu bytes consumed\n", last_snap,
	    (u_longlong_t)off);
}

/*
 * Makes the file of the pool, size bytes and sparse, and returns a path by
 * which this process alone can open it again: it has no name of its own.
 */
static const char *
pool_file(uint64_t size)
{
	static char path[64];
	char name[4096];
	const char *dir = getenv("TMPDIR");
	snprintf(name, sizeof (name), "%s/oracle.XXXXXX",
	    dir && *dir ? dir : "/tmp");
	int fd = mkstemp(name);
	if (fd < 0)
		die(name, errno);
	if (unlink(name) || ftruncate(fd, size))
		die(name, errno);
	snprintf(path, sizeof (path), "/proc/self/fd/%d", fd);
	return (path);
}

void
pool_create(uint64_t mb, int features)
{
	const char *pf = pool_file(mb << 20);
	/* Pools of this machine are none of our business. */
	spa_config_path = "/nonexistent/zpool.cache";
	kernel_init(SPA_MODE_READ | SPA_MODE_WRITE);
	nvlist_t *root = fnvlist_alloc(), *leaf = fnvlist_alloc();
	fnvlist_add_string(leaf, ZPOOL_CONFIG_TYPE, VDEV_TYPE_FILE);
	fnvlist_add_string(leaf, ZPOOL_CONFIG_PATH, pf);
	fnvlist_add_uint64(leaf, ZPOOL_CONFIG_ASHIFT, 9);
	fnvlist_add_string(root, ZPOOL_CONFIG_TYPE, VDEV_TYPE_ROOT);
#ifdef ZFS21
	fnvlist_add_nvlist_array(root, ZPOOL_CONFIG_CHILDREN, &leaf, 1);
#else
	fnvlist_add_nvlist_array(root, ZPOOL_CONFIG_CHILDREN,
	    (const nvlist_t **)&leaf, 1);
#endif
	nvlist_t *props = fnvlist_alloc();
	fnvlist_add_string(props, "cachefile", "none");
	if (features) {	/* enable every pool feature, as a modern "zpool create" */
		for (int i = 0; i < SPA_FEATURES; i++) {
			char nm[256];
			snprintf(nm, sizeof (nm), "feature@%s",
			    spa_feature_table[i].fi_uname);
			fnvlist_add_uint64(props, nm, 0);
		}
	}
	int e = spa_create(POOL, root, props, NULL, NULL);
	if (e)
		die("spa_create", e);
}

void
pool_compress(const char *compression)
{
	uint64_t value;
	if (zfs_prop_string_to_index(ZFS_PROP_COMPRESSION, compression, &value))
		die(compression, EINVAL);
	int e = dsl_prop_set_int(POOL, zfs_prop_to_name(ZFS_PROP_COMPRESSION),
	    ZPROP_SRC_LOCAL, value);
	if (e)
		die("compression", e);
}

void
pool_done(void)
{
	spa_export(POOL, NULL, B_TRUE, B_FALSE);
	fflush(stdout);
	_exit(list_errors ? 1 : 0);
}
