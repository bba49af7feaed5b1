//! Users and groups: passwd(5) and group(5), the same on Linux and illumos.

use super::{Entries, Entry, Inventory, User, lines, text};

const PASSWD: &[u8] = b"etc/passwd";
const GROUP: &[u8] = b"etc/group";

pub(super) fn is_wanted(path: &[u8]) -> bool {
    path == PASSWD || path == GROUP
}

pub(super) fn read(entries: &Entries, inventory: &mut Inventory) {
    if let Some(Entry::File(content)) = entries.get(PASSWD) {
        for line in lines(content) {
            let fields: Vec<&[u8]> = line.split(|byte| *byte == b':').collect();
            // A line of NIS (`+::::::`) or a comment names nobody.
            if let [name, _, uid, gid, _, home, shell] = fields[..]
                && !name.is_empty()
                && !matches!(name[0], b'+' | b'-' | b'#')
            {
                let user = User {
                    uid: text(uid),
                    gid: text(gid),
                    home: text(home),
                    shell: text(shell),
                };
                inventory.users.insert(text(name), user);
            }
        }
    }
    if let Some(Entry::File(content)) = entries.get(GROUP) {
        for line in lines(content) {
            let fields: Vec<&[u8]> = line.split(|byte| *byte == b':').collect();
            if let [name, _, gid, members] = fields[..]
                && !name.is_empty()
                && !matches!(name[0], b'+' | b'-' | b'#')
            {
                let group = format!("{} {}", text(gid), text(members));
                inventory
                    .groups
                    .insert(text(name), group.trim_end().to_owned());
            }
        }
    }
}
