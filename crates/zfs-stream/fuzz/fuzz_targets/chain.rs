//! Two streams, checksums made right: how they are merged. The first four bytes say where the second begins.

#![no_main]

#[path = "../../tests/hostile/targets.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((length, rest)) = data.split_first_chunk::<4>() else {
        return;
    };
    let at = (u32::from_le_bytes(*length) as usize).min(rest.len());
    let (mut one, mut other) = (rest[..at].to_vec(), rest[at..].to_vec());
    // The second is a change to the first, whatever they say.
    if let (Some(to), Some(from)) = (one.get(40..48), other.get_mut(48..56)) {
        from.copy_from_slice(to);
    }
    targets::reseal(&mut one);
    targets::reseal(&mut other);
    let _ = targets::read(&[&one, &other]);
});
