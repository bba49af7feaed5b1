/*
 * zsend: make ZFS send streams in user space with the real OpenZFS code
 * (libzpool: dmu_send), of what other streams hold, compressed and edited at
 * will.  No kernel module, no root needed.
 *
 *   zsend [-Lecipr] [-z compression] [-E edits] [-s size_mb] out stream ...
 *
 * README.md says what the options do; the listing of what was sent goes to
 * stdout.
 */
#include "oracle.h"
#include "edits.h"

#include <sys/dmu_send.h>
#include <fcntl.h>

static int
usage(void)
{
	fprintf(stderr, "usage: zsend [-Lecipr] [-z COMPRESSION] [-E EDITS] "
	    "[-s POOL_MB] OUT STREAM...\n");
	return (2);
}

static int
write_out(objset_t *os, void *buf, int len, void *arg)
{
	int fd = *(int *)arg;
	for (char *p = buf; len > 0; ) {
		ssize_t n = write(fd, p, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return (n < 0 ? errno : EIO);
		p += n;
		len -= n;
	}
	return (0);
}

/* Snapshots a dataset as <dataset>@<name>, and says so in last_snap. */
static void
snapshot(const char *dataset, const char *name)
{
	int e = dmu_objset_snapshot_one(dataset, name);
	if (e)
		die("snapshot", e);
	snprintf(last_snap, sizeof (last_snap), "%s@%s", dataset, name);
}

int
main(int argc, char **argv)
{
	uint64_t mb = 2048;
	int c, incremental = 0, in_place = 0;
	boolean_t large = B_FALSE, embed = B_FALSE, compressed = B_FALSE;
	const char *edits = NULL, *compression = NULL;
	while ((c = getopt(argc, argv, "Lecipr" "z:E:s:")) != -1) {
		switch (c) {
		case 'L': large = B_TRUE; break;
		case 'e': embed = B_TRUE; break;
		case 'c': compressed = B_TRUE; break;
		case 'i': incremental = 1; break;
		case 'p': in_place = 1; break;
		case 'r': show_raw = 1; break;
		case 'z': compression = optarg; break;
		case 'E': edits = optarg; break;
		case 's': mb = strtoull(optarg, NULL, 10); break;
		default: return (usage());
		}
	}
	const char *out = argv[optind++];
	int streams = argc - optind;
	if (streams < 1 || mb < 64)	/* 64 MB is ZFS's own least */
		return (usage());
	/* Nothing to be incremental from, nothing to be in the place of. */
	if ((incremental && !edits && streams < 2) || (in_place && !edits))
		return (usage());
	setvbuf(stdout, NULL, _IOLBF, 0);
	pool_create(mb, 1);
	if (compression)
		pool_compress(compression);
	char from[sizeof (last_snap)] = "";
	for (int i = 0; i < streams; i++) {
		strcpy(from, last_snap);
		receive(argv[optind + i], i);
	}
	if (edits) {
		char head[sizeof (last_snap)] = POOL "/edited";
		strcpy(from, last_snap);
		if (in_place) {
			strcpy(head, last_snap);
			*strchr(head, '@') = '\0';
		} else {
			int e = dmu_objset_clone(head, last_snap);
			if (e)
				die("clone", e);
		}
		edit(head, edits);
		snapshot(head, "edited");
	}

	int fd = open(out, O_WRONLY | O_CREAT | O_TRUNC, 0666);
	if (fd < 0)
		die(out, errno);
	offset_t off = 0;
	dmu_send_outparams_t params = { .dso_outfunc = write_out, .dso_arg = &fd };
	int e = dmu_send(last_snap, incremental ? from : NULL, embed, large,
	    compressed, B_FALSE, B_FALSE, 0, 0, NULL, fd, &off, &params);
	if (e)
		die("dmu_send", e);
	if (close(fd))
		die(out, errno);
	printf("# sent %s from %s, %llu bytes\n", last_snap,
	    incremental ? from : "nothing", (u_longlong_t)off);
	list(last_snap);
	pool_done();
}
