/*
 * Changes to the one dataset that is open.  A change that can't be made ends
 * the process.
 */
#ifndef CHANGES_H
#define	CHANGES_H

#include "oracle.h"

extern objset_t *os;
extern uint64_t version;	/* of the ZPL; 0 in a volume */

void open_dataset(const char *dataset);
void close_dataset(void);

/* The line of the script that is being done: it decides about times. */
extern int line;
/* Ends the process, naming that line. */
void wrong(const char *what, int error);
/* The same, unless error is 0. */
void check(const char *what, int error);

/* An attribute that is one number; ZPL_XATTR is 0 if there is none. */
uint64_t get(uint64_t obj, zpl_attr_t attr);
void put_number(uint64_t obj, zpl_attr_t attr, uint64_t value);
void touch(uint64_t obj);
/* The value is noise of the seed; length 0 removes the xattr. */
void sa_xattr(uint64_t obj, const char *name, uint64_t length, uint64_t seed);

/* Entries of a ZAP, and nothing else. */
void zap_put(uint64_t zap, const char *name, uint64_t value);
void zap_drop(uint64_t zap, const char *name);

/* Enters an object into a directory; its own link count is the caller's. */
void enter(uint64_t dir, const char *name, uint64_t obj, uint64_t mode);
/* Removes a name, and what has none left; a directory with all it holds. */
void unlink_one(uint64_t dir, const char *name);
void unlink_all(uint64_t dir, const char *prefix);
/* A new file, directory or (with a target) symlink; obj 0: the next free. */
void create(uint64_t dir, const char *name, uint64_t mode, uint64_t dnsize,
    uint64_t obj, const char *target);

/* Writes noise of a seed, or (fill) one byte again and again. */
void write_data(uint64_t obj, uint64_t offset, uint64_t length, uint64_t what,
    int fill);
/* In a file system, a file's size and times follow what is done to its data. */
void grown(uint64_t obj, uint64_t end);
void block_size(uint64_t obj, uint64_t size);

/* `zfs upgrade` */
void upgrade(uint64_t to);

#endif
