//! Two programs that do the same work, run by turns.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

use super::measure::{Sample, measure};
use super::trees::Scratch;
use crate::failure::{Context, Failure};

/// One side of a contest.
pub struct Rival {
    pub name: &'static str,
    pub program: Vec<OsString>,
    /// What it writes, whose size is compared.
    pub file: Option<PathBuf>,
}

/// What is hoped for.
#[derive(Clone, Copy)]
pub enum Aim {
    /// At least so many times as fast by the clock.
    Faster(f64),
    /// A file of at most so many times the size.
    Size(f64),
    /// At the peak, less than so many MiB of memory.
    Memory(f64),
}

/// Two rivals and what is hoped for.
pub struct Contest {
    pub name: &'static str,
    pub title: &'static str,
    pub ours: Rival,
    pub theirs: Rival,
    pub aims: Vec<Aim>,
}

impl Contest {
    /// Runs it, prints its figures and returns the aims that were missed.
    pub fn run(&self, scratch: &Scratch, rounds: usize) -> Result<Vec<String>, Failure> {
        println!("{} ({rounds} rounds)", self.title);
        let mut ours = Vec::new();
        let mut theirs = Vec::new();
        for round in 0..=rounds {
            let pair = (
                measure(scratch, &self.ours.program)?,
                measure(scratch, &self.theirs.program)?,
            );
            if round > 0 {
                ours.push(pair.0);
                theirs.push(pair.1);
            }
        }
        let our_size = size(&self.ours)?;
        let their_size = size(&self.theirs)?;
        print_rival(self.ours.name, &ours, our_size);
        print_rival(self.theirs.name, &theirs, their_size);
        let faster = Spread::of(
            ours.iter()
                .zip(&theirs)
                .map(|(ours, theirs)| theirs.wall / ours.wall),
        );
        let cheaper = Spread::of(
            ours.iter()
                .zip(&theirs)
                .map(|(ours, theirs)| theirs.cpu / ours.cpu),
        );
        println!("  ratio         {faster} times as fast; {cheaper} times less processor time");
        let mut missed = Vec::new();
        for aim in &self.aims {
            let (met, line) = match aim {
                Aim::Faster(aim) => (
                    faster.median >= *aim,
                    format!("{:.2} times as fast, aim {aim:.1}", faster.median),
                ),
                Aim::Memory(aim) => {
                    let peak = ours.iter().map(Sample::peak_mib).fold(0.0, f64::max);
                    (
                        peak < *aim,
                        format!("{peak:.1} MiB at the peak, aim under {aim:.0}"),
                    )
                }
                Aim::Size(aim) => {
                    let ratio = our_size.unwrap_or_default() as f64
                        / their_size.unwrap_or_default().max(1) as f64;
                    (
                        ratio <= *aim,
                        format!(
                            "{:.1} % of the size, aim at most {:.0} %",
                            ratio * 100.0,
                            aim * 100.0
                        ),
                    )
                }
            };
            println!(
                "  {}          {line}",
                if met { "met   " } else { "MISSED" }
            );
            if !met {
                missed.push(format!("{}: {line}", self.name));
            }
        }
        println!();
        for file in [&self.ours.file, &self.theirs.file].into_iter().flatten() {
            let _ = fs::remove_file(file);
        }
        Ok(missed)
    }
}

fn size(rival: &Rival) -> Result<Option<u64>, Failure> {
    let Some(file) = &rival.file else {
        return Ok(None);
    };
    let data =
        fs::metadata(file).context(|| format!("{} wrote no {}", rival.name, file.display()))?;
    Ok(Some(data.len()))
}

fn print_rival(name: &str, samples: &[Sample], size: Option<u64>) {
    let wall = Spread::of(samples.iter().map(|sample| sample.wall));
    let cpu = Spread::of(samples.iter().map(|sample| sample.cpu));
    let peak = samples.iter().map(Sample::peak_mib).fold(0.0, f64::max);
    print!("  {name:12}  {wall} s  processor {cpu} s  peak {peak:.1} MiB");
    match size {
        Some(size) => println!("  {:.1} MiB", size as f64 / (1024.0 * 1024.0)),
        None => println!(),
    }
}

/// Median and range of some figures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub median: f64,
    least: f64,
    most: f64,
}

impl Spread {
    /// All NaN when there are no figures.
    pub fn of(figures: impl Iterator<Item = f64>) -> Self {
        let mut figures: Vec<f64> = figures.collect();
        figures.sort_by(f64::total_cmp);
        let at = |index: usize| figures.get(index).copied().unwrap_or(f64::NAN);
        let (low, high) = (
            at(figures.len().saturating_sub(1) / 2),
            at(figures.len() / 2),
        );
        Self {
            median: f64::midpoint(low, high),
            least: at(0),
            most: at(figures.len().saturating_sub(1)),
        }
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            out,
            "{:.2} ({:.2}–{:.2})",
            self.median, self.least, self.most
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_the_middle_and_the_ends() {
        let odd = Spread::of([3.0, 1.0, 2.0].into_iter());
        assert_eq!(
            odd,
            Spread {
                median: 2.0,
                least: 1.0,
                most: 3.0
            }
        );
        let even = Spread::of([4.0, 1.0, 2.0, 3.0].into_iter());
        assert_eq!(
            even,
            Spread {
                median: 2.5,
                least: 1.0,
                most: 4.0
            }
        );
        let one = Spread::of([7.0].into_iter());
        assert_eq!(
            one,
            Spread {
                median: 7.0,
                least: 7.0,
                most: 7.0
            }
        );
    }
}
