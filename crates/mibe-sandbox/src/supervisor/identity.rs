//! set*id, get*id and their groups.

use std::io;
use std::os::fd::AsFd;

use rustix::io::Errno;

use super::Supervisor;
use super::call::At;
use super::credentials::{Credentials, Ids};
use super::notification::{Answer, Request};
use super::task::Task;
use crate::Kind;
use crate::ledger::Place;

/// `NGROUPS_MAX`
const MAX_GROUPS: usize = 65536;

/// `SECBIT_KEEP_CAPS` and `SECBIT_NO_SETUID_FIXUP`
const KEEPING: u64 = 1 << 4 | 1 << 2;

/// Users or groups.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sort {
    User,
    Group,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Change {
    Set(Sort, u32),
    SetTwo(Sort, [u32; 2]),
    SetThree(Sort, [u32; 3]),
    SetFiles(Sort, u32),
    SetGroups { count: u64, list: u64 },
    Real(Sort),
    Effective(Sort),
    GetThree(Sort, [u64; 3]),
    GetGroups { count: i32, list: u64 },
    KeepCapabilities(bool),
    SecureBits(u64),
}

impl Change {
    pub(super) fn decode(request: &Request) -> Option<Self> {
        use Sort::{Group, User};
        let a = request.arguments;
        let [x, y, z] = [a[0] as u32, a[1] as u32, a[2] as u32];
        Some(match request.number {
            libc::SYS_setuid => Self::Set(User, x),
            libc::SYS_setgid => Self::Set(Group, x),
            libc::SYS_setreuid => Self::SetTwo(User, [x, y]),
            libc::SYS_setregid => Self::SetTwo(Group, [x, y]),
            libc::SYS_setresuid => Self::SetThree(User, [x, y, z]),
            libc::SYS_setresgid => Self::SetThree(Group, [x, y, z]),
            libc::SYS_setfsuid => Self::SetFiles(User, x),
            libc::SYS_setfsgid => Self::SetFiles(Group, x),
            libc::SYS_setgroups => Self::SetGroups {
                count: a[0],
                list: a[1],
            },
            libc::SYS_getuid => Self::Real(User),
            libc::SYS_geteuid => Self::Effective(User),
            libc::SYS_getgid => Self::Real(Group),
            libc::SYS_getegid => Self::Effective(Group),
            libc::SYS_getresuid => Self::GetThree(User, [a[0], a[1], a[2]]),
            libc::SYS_getresgid => Self::GetThree(Group, [a[0], a[1], a[2]]),
            libc::SYS_getgroups => Self::GetGroups {
                count: a[0] as i32,
                list: a[1],
            },
            libc::SYS_prctl if x == libc::PR_SET_KEEPCAPS as u32 => {
                Self::KeepCapabilities(a[1] != 0)
            }
            libc::SYS_prctl if x == libc::PR_SET_SECUREBITS as u32 => Self::SecureBits(a[1]),
            _ => return None,
        })
    }
}

fn of(credentials: &Credentials, sort: Sort) -> Ids {
    match sort {
        Sort::User => credentials.user,
        Sort::Group => credentials.group,
    }
}

impl Supervisor {
    pub(super) fn identity(&mut self, task: &Task, change: Change) -> io::Result<Answer> {
        match change {
            Change::Real(sort) => Ok(Answer::Value(of(self.table.of(task), sort).real.into())),
            Change::Effective(sort) => Ok(Answer::Value(
                of(self.table.of(task), sort).effective.into(),
            )),
            Change::GetThree(sort, addresses) => {
                let ids = of(self.table.of(task), sort);
                for (address, id) in addresses
                    .into_iter()
                    .zip([ids.real, ids.effective, ids.saved])
                {
                    task.write(address, &id.to_ne_bytes())?;
                }
                Ok(Answer::Value(0))
            }
            Change::GetGroups { count, list } => self.get_groups(task, count, list),
            Change::Set(sort, id) => {
                self.change(task, sort, |ids, privileged| ids.set(id, privileged))
            }
            Change::SetTwo(sort, [real, effective]) => {
                self.change(task, sort, |ids, privileged| {
                    ids.set_two(real, effective, privileged)
                })
            }
            Change::SetThree(sort, three) => self.change(task, sort, |ids, privileged| {
                ids.set_three(three, privileged)
            }),
            Change::SetFiles(sort, id) => {
                let mut old = 0;
                self.change(task, sort, |ids, privileged| {
                    old = ids.set_files(id, privileged);
                    Ok(())
                })?;
                Ok(Answer::Value(old.into()))
            }
            Change::SetGroups { count, list } => self.set_groups(task, count, list),
            Change::KeepCapabilities(keep) => {
                self.set_keep(task, keep)?;
                Ok(Answer::Value(0))
            }
            Change::SecureBits(bits) => {
                self.set_keep(task, bits & KEEPING != 0)?;
                Ok(Answer::Continue)
            }
        }
    }

    fn set_keep(&mut self, task: &Task, keep: bool) -> io::Result<()> {
        let mut credentials = self.table.of(task).clone();
        credentials.keep = keep;
        self.table.set(task, credentials)
    }

    /// An exec makes the effective ids the saved ones, takes those of a set-id file, and ends kept capabilities. The kernel
    /// does the exec itself; of one that will fail (no such file, not executable) nothing is noted.
    pub(super) fn exec(&mut self, task: &Task, at: At) -> io::Result<Answer> {
        let Ok(target) = task.target(at) else {
            return Ok(Answer::Continue);
        };
        let place = Place::of(target.as_fd());
        let Ok(stat) = place.stat() else {
            return Ok(Answer::Continue);
        };
        let mode = u32::from(stat.stx_mode);
        if Kind::from_mode(mode) != Kind::File || mode & 0o111 == 0 {
            return Ok(Answer::Continue);
        }
        let credentials = self.table.of(task);
        let mut new = credentials.clone();
        if mode & (libc::S_ISUID | libc::S_ISGID) != 0 && !task.no_new_privileges()? {
            let owner = self.ledger.lookup_quick(place)?.unwrap_or_default();
            let group = mode & libc::S_ISGID != 0 && mode & libc::S_IXGRP != 0;
            new.exec(
                (mode & libc::S_ISUID != 0).then_some(owner.uid),
                group.then_some(owner.gid),
            );
        } else {
            new.exec(None, None);
        }
        if new != *credentials {
            self.table.set(task, new)?;
        }
        Ok(Answer::Continue)
    }

    fn change(
        &mut self,
        task: &Task,
        sort: Sort,
        apply: impl FnOnce(&mut Ids, bool) -> Result<(), Errno>,
    ) -> io::Result<Answer> {
        let mut credentials = self.table.of(task).clone();
        let privileged = credentials.powers;
        let ids = match sort {
            Sort::User => &mut credentials.user,
            Sort::Group => &mut credentials.group,
        };
        apply(ids, privileged)?;
        if matches!(sort, Sort::User) {
            credentials.settle();
        }
        self.table.set(task, credentials)?;
        Ok(Answer::Value(0))
    }

    fn get_groups(&self, task: &Task, count: i32, list: u64) -> io::Result<Answer> {
        let groups = &self.table.of(task).groups;
        let have = groups.len() as i64;
        if count != 0 {
            if i64::from(count) < have {
                return Ok(Answer::Error(libc::EINVAL));
            }
            let bytes: Vec<u8> = groups
                .iter()
                .flat_map(|group| group.to_ne_bytes())
                .collect();
            if !bytes.is_empty() {
                task.write(list, &bytes)?;
            }
        }
        Ok(Answer::Value(have))
    }

    fn set_groups(&mut self, task: &Task, count: u64, list: u64) -> io::Result<Answer> {
        let mut credentials = self.table.of(task).clone();
        if !credentials.powers {
            return Ok(Answer::Error(libc::EPERM));
        }
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        if count > MAX_GROUPS {
            return Ok(Answer::Error(libc::EINVAL));
        }
        let mut bytes = vec![0; count * 4];
        if count > 0 {
            task.read(list, &mut bytes)?;
        }
        credentials.groups = bytes
            .chunks_exact(4)
            .map(|four| {
                four.iter()
                    .rev()
                    .fold(0, |number, byte| (number << 8) | u32::from(*byte))
            })
            .collect();
        // The kernel sorts them, too.
        credentials.groups.sort_unstable();
        self.table.set(task, credentials)?;
        Ok(Answer::Value(0))
    }
}
