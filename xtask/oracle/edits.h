/* Changes to a received dataset, as a script of them says. */
#ifndef EDITS_H
#define	EDITS_H

/* Makes the edits of a file in a file system or volume; dies at a wrong one. */
void edit(const char *dataset, const char *file);

#endif
