//! `mibe image verify`.

use mibe_image::verify::{Verified, verify};

use super::{Output, Readings, failed, open};
use crate::cli::OneImageJson;
use crate::error::{CommandError, Kind};
use crate::units;

pub fn run(arguments: &OneImageJson) -> Result<(), CommandError> {
    let chain = open(&arguments.image, Readings::Once)?;
    let verified = verify(&chain).map_err(failed)?;
    let mut out = Output::new();
    if arguments.json {
        out.json(&json(&verified));
    } else {
        for finding in &verified.findings {
            out.line(&format!("{}: {}", finding.image, finding.what));
            if !finding.advice.is_empty() {
                out.line(&format!("  hint: {}", finding.advice));
            }
        }
        if verified.findings.is_empty() {
            out.line(&summary(&verified));
        }
    }
    out.finish()?;
    match verified.findings.len() {
        0 => Ok(()),
        1 => Err(CommandError::new(
            Kind::Failed,
            "the image is not as it should be: one finding",
        )),
        count => Err(CommandError::new(
            Kind::Failed,
            format!("the image is not as it should be: {count} findings"),
        )),
    }
}

fn summary(verified: &Verified) -> String {
    let bytes: u64 = verified.counts.iter().map(|counts| counts.bytes).sum();
    let records: u64 = verified.counts.iter().map(|counts| counts.records).sum();
    let streams = match verified.counts.len() {
        1 => String::new(),
        count => format!(" in {count} streams"),
    };
    let what = if verified.volume_size > 0 {
        format!("a volume of {}", units::bytes(verified.volume_size))
    } else {
        format!("{} files", verified.files)
    };
    format!(
        "ok: {what}, {records} records, {}{streams}",
        units::bytes(bytes)
    )
}

fn json(verified: &Verified) -> serde_json::Value {
    serde_json::json!({
        "ok": verified.findings.is_empty(),
        "findings": verified.findings,
        "files": verified.files,
        "volume_size": verified.volume_size,
        "streams": verified.counts.iter().map(|counts| serde_json::json!({
            "bytes": counts.bytes,
            "records": counts.records,
            "objects": counts.objects,
            "writes": counts.writes,
            "written": counts.written,
            "frees": counts.frees,
            "free_objects": counts.free_objects,
            "spills": counts.spills,
        })).collect::<Vec<_>>(),
    })
}
