/*
 * What zrecv and zsend share: a pool that lives as long as the process,
 * streams received into it, and the listing of what they hold.
 */
#ifndef ORACLE_H
#define	ORACLE_H

#include <sys/zfs_context.h>
#include <sys/spa.h>
#include <sys/dmu.h>
#include <sys/dmu_objset.h>
#include <sys/dmu_tx.h>
#include <sys/dsl_dataset.h>
#include <sys/dnode.h>
#include <sys/zap.h>
#include <sys/sa.h>
#include <sys/zfs_acl.h>
#include <sys/zfs_sa.h>
#include <sys/zfs_znode.h>
#include <sys/zfs_ioctl.h>
#include <sys/fs/zfs.h>
#include <sys/stat.h>
#include <unistd.h>
#include <stdio.h>
#include <errno.h>

#define	POOL	"zorc"

/* Prints "FAIL what: error" and ends the process with status 1. */
void die(const char *what, int error);

/* Raw columns in listings. */
extern int show_raw;
/* What did not hang together in the listings so far. */
extern int list_errors;
/* Lists a file system or volume, or a snapshot of one. */
void list(const char *dataset);
/* The attributes' numbers in a file system (by zpl_attr_t), and its version. */
sa_attr_type_t *attribute_table(objset_t *os, uint64_t *version);

/* Makes the pool in a sparse file; features: all, or none at all. */
void pool_create(uint64_t mb, int features);
/* What is received or written from now on is compressed: lz4, zstd-19, ... */
void pool_compress(const char *compression);
/* Leaves; the status is 1 if a listing had errors. */
void pool_done(void) __attribute__((noreturn));

/*
 * Receives a stream as POOL/r<idx>; an incremental one as a clone of what was
 * received before it.
 */
void receive(const char *file, int idx);
/* The snapshot received last, "" before the first. */
extern char last_snap[512];

#endif
