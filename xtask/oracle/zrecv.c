/*
 * zrecv: receive ZFS send streams in user space with the real OpenZFS DMU
 * (libzpool: dmu_recv_begin/stream/end), then list the datasets' file trees
 * with the real SA and ZAP code.  No kernel module, no root needed.
 *
 *   zrecv [-r] [-f] [-s size_mb] stream [stream ...]
 *
 * README.md says what the options do and how the listing reads.  The pool is
 * a nameless file in TMPDIR (or /tmp): whatever ends this program, SIGKILL and
 * a failed assertion of OpenZFS included, nothing is left behind.
 */
#include "oracle.h"

static int
usage(void)
{
	fprintf(stderr, "usage: zrecv [-r] [-f] [-s POOL_MB] STREAM...\n");
	return (2);
}

int
main(int argc, char **argv)
{
	uint64_t mb = 2048;
	int c, features = 0;
	while ((c = getopt(argc, argv, "s:rf")) != -1) {
		switch (c) {
		case 's': mb = strtoull(optarg, NULL, 10); break;
		case 'r': show_raw = 1; break;
		case 'f': features = 1; break;
		default: return (usage());
		}
	}
	if (optind == argc || mb < 64)	/* 64 MB is ZFS's own least */
		return (usage());
	setvbuf(stdout, NULL, _IOLBF, 0);
	pool_create(mb, features);
	for (int i = optind; i < argc; i++) {
		receive(argv[i], i - optind);
		list(last_snap);
	}
	pool_done();
}
