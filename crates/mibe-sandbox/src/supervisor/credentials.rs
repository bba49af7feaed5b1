//! Fake credentials. A process of [`Mode::Single`](crate::Mode::Single) really stays root of its user namespace; what it
//! set itself to is an entry of a table. The number of the entry rides on the soft limit `RLIMIT_MSGQUEUE`
//! of the process: the kernel copies it to children and keeps it over exec, so it is inherited exactly as
//! credentials are, and the filter keeps programs from changing it. (A limit belongs to a process, credentials
//! to a thread; the C library changes those of all threads together.)

use std::collections::HashMap;
use std::io;

use rustix::io::Errno;

use super::notification::carrier;
use super::task::Task;

/// Real, effective, saved and file system id.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Ids {
    pub(super) real: u32,
    pub(super) effective: u32,
    pub(super) saved: u32,
    pub(super) files: u32,
}

impl Ids {
    fn has(self, id: u32) -> bool {
        id == self.real || id == self.effective || id == self.saved
    }

    /// setuid, setgid
    pub(super) fn set(&mut self, id: u32, privileged: bool) -> Result<(), Errno> {
        if id == u32::MAX {
            return Err(Errno::INVAL);
        }
        if privileged {
            *self = Self {
                real: id,
                effective: id,
                saved: id,
                files: id,
            };
        } else if id == self.real || id == self.saved {
            (self.effective, self.files) = (id, id);
        } else {
            return Err(Errno::PERM);
        }
        Ok(())
    }

    /// setreuid, setregid
    pub(super) fn set_two(
        &mut self,
        real: u32,
        effective: u32,
        privileged: bool,
    ) -> Result<(), Errno> {
        let old = *self;
        let keep = u32::MAX;
        let real_allowed = real == keep || real == old.real || real == old.effective;
        let effective_allowed = effective == keep || old.has(effective);
        let allowed = real_allowed && effective_allowed;
        if !privileged && !allowed {
            return Err(Errno::PERM);
        }
        if real != keep {
            self.real = real;
        }
        if effective != keep {
            self.effective = effective;
        }
        if real != keep || (effective != keep && effective != old.real) {
            self.saved = self.effective;
        }
        self.files = self.effective;
        Ok(())
    }

    /// setresuid, setresgid
    pub(super) fn set_three(&mut self, ids: [u32; 3], privileged: bool) -> Result<(), Errno> {
        let keep = u32::MAX;
        if !privileged && ids.iter().any(|id| *id != keep && !self.has(*id)) {
            return Err(Errno::PERM);
        }
        for (slot, id) in [&mut self.real, &mut self.effective, &mut self.saved]
            .into_iter()
            .zip(ids)
        {
            if id != keep {
                *slot = id;
            }
        }
        self.files = self.effective;
        Ok(())
    }

    /// setfsuid, setfsgid: the old one, whatever comes of it
    pub(super) fn set_files(&mut self, id: u32, privileged: bool) -> u32 {
        let old = self.files;
        if id != u32::MAX && (privileged || self.has(id) || id == old) {
            self.files = id;
        }
        old
    }
}

/// Everything about who a process is.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Credentials {
    pub(super) user: Ids,
    pub(super) group: Ids,
    pub(super) groups: Vec<u32>,
    /// Whether it has root's capabilities over credentials and owners.
    pub(super) powers: bool,
    /// Whether it asked to keep them when it leaves user 0 (`PR_SET_KEEPCAPS`).
    pub(super) keep: bool,
}

/// What every process starts as.
static ROOT: Credentials = Credentials {
    user: Ids {
        real: 0,
        effective: 0,
        saved: 0,
        files: 0,
    },
    group: Ids {
        real: 0,
        effective: 0,
        saved: 0,
        files: 0,
    },
    groups: Vec::new(),
    powers: true,
    keep: false,
};

impl Credentials {
    /// Capabilities after a change of the user, by the rules of capabilities(7). One that keeps them is taken to raise
    /// them again at once (setpriv and libcap-ng do).
    pub(super) fn settle(&mut self) {
        self.powers = self.user.effective == 0 || (self.keep && self.powers);
    }

    /// What an exec of a file with these set-id owners makes of it.
    pub(super) fn exec(&mut self, user: Option<u32>, group: Option<u32>) {
        for (ids, new) in [(&mut self.user, user), (&mut self.group, group)] {
            ids.effective = new.unwrap_or(ids.effective);
            (ids.saved, ids.files) = (ids.effective, ids.effective);
        }
        self.keep = false;
        self.settle();
    }

    /// Whether the kernel would let it change an owner (it has no `CAP_CHOWN`).
    pub(super) fn may_chown(&self, owner: u32, group: u32, uid: u32, gid: u32) -> bool {
        let mine = owner == self.user.files;
        let user_stays = uid == u32::MAX || (mine && uid == owner);
        let group_stays = gid == u32::MAX
            || (mine && (gid == group || gid == self.group.files || self.groups.contains(&gid)));
        user_stays && group_stays
    }
}

/// All credentials met so far; number 0 is root.
#[derive(Debug)]
pub(super) struct Table {
    entries: Vec<Credentials>,
    numbers: HashMap<Credentials, usize>,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            entries: vec![ROOT.clone()],
            numbers: HashMap::from([(ROOT.clone(), 0)]),
        }
    }
}

impl Table {
    /// The number of a process's entry.
    pub(super) fn number(task: &Task) -> usize {
        carrier(task.pid, None).map_or(0, |limit| limit.rlim_cur as usize)
    }

    /// Who a process is.
    pub(super) fn of(&self, task: &Task) -> &Credentials {
        self.entries.get(Self::number(task)).unwrap_or(&ROOT)
    }

    /// Makes a process someone else.
    pub(super) fn set(&mut self, task: &Task, credentials: Credentials) -> io::Result<()> {
        let number = if let Some(number) = self.numbers.get(&credentials) {
            *number
        } else {
            self.entries.push(credentials.clone());
            self.numbers.insert(credentials, self.entries.len() - 1);
            self.entries.len() - 1
        };
        let mut limit = carrier(task.pid, None)?;
        limit.rlim_cur = number as u64;
        if limit.rlim_cur > limit.rlim_max {
            return Err(Errno::AGAIN.into());
        }
        carrier(task.pid, Some(limit)).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_follow_the_kernel() {
        let mut ids = Ids::default();
        assert_eq!(ids.set(33, true), Ok(()));
        assert_eq!(
            ids,
            Ids {
                real: 33,
                effective: 33,
                saved: 33,
                files: 33
            }
        );
        assert_eq!(ids.set(0, false), Err(Errno::PERM));
        let mut ids = Ids::default();
        assert_eq!(ids.set_three([u32::MAX, 33, u32::MAX], true), Ok(()));
        assert_eq!(
            ids,
            Ids {
                real: 0,
                effective: 33,
                saved: 0,
                files: 33
            }
        );
        assert_eq!(ids.set_three([u32::MAX, 0, u32::MAX], false), Ok(()));
        assert_eq!(ids.set_two(5, 6, true), Ok(()));
        assert_eq!(
            ids,
            Ids {
                real: 5,
                effective: 6,
                saved: 6,
                files: 6
            }
        );
        assert_eq!(ids.set_two(7, u32::MAX, false), Err(Errno::PERM));
        assert_eq!(ids.set_files(9, false), 6);
        assert_eq!(ids.files, 6);
    }
}
