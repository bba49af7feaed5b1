//! "Did you mean …?"

/// Those of `known` that `word` may have been to be, the likeliest first, at most `most` of them.
pub fn likeliest<'a>(
    word: &str,
    known: impl IntoIterator<Item = &'a str>,
    most: usize,
) -> Vec<&'a str> {
    if word.len() > 64 {
        return Vec::new();
    }
    let word = word.to_ascii_lowercase();
    let mut near: Vec<(usize, &str)> = known
        .into_iter()
        .filter(|candidate| candidate.len() <= 256)
        .filter_map(|candidate| {
            let lower = candidate.to_ascii_lowercase();
            let long = word.len().min(lower.len()) > 2;
            let within = long && (lower.contains(&word) || word.contains(&lower));
            let distance = distance(&word, &lower);
            (within
                || (distance < candidate.len() && distance <= (candidate.len() / 3).clamp(1, 4)))
            .then_some((distance, candidate))
        })
        .collect();
    near.sort_unstable();
    near.truncate(most);
    near.into_iter().map(|(_, candidate)| candidate).collect()
}

/// The one of `known` that `word` most likely was to be, if any is near.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A word longer than any key by that much is near to none, and would cost time.
    if word.len() > 64 {
        return None;
    }
    let word = word.to_ascii_lowercase();
    known
        .into_iter()
        .map(|candidate| (distance(&word, candidate), candidate))
        .filter(|&(distance, candidate)| distance <= (candidate.len() / 3).clamp(1, 3))
        .min()
        .map(|(_, candidate)| candidate)
}

/// Insertions, deletions, replacements and swaps of neighbours from one word to the other.
fn distance(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    let mut rows = vec![vec![0; other.len() + 1]; one.len() + 1];
    for (index, row) in rows.iter_mut().enumerate() {
        row[0] = index;
    }
    rows[0] = (0..=other.len()).collect();
    for i in 1..=one.len() {
        for j in 1..=other.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(one[i - 1] != other[j - 1]);
            let mut best = replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && one[i - 1] == other[j - 2] && one[i - 2] == other[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[one.len()][other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_found_and_far_ones_are_not() {
        let known = ["name", "version", "description", "base", "users"];
        for (word, meant) in [
            ("ame", Some("name")),
            ("vresion", Some("version")),
            ("desciption", Some("description")),
            ("NAME", Some("name")),
            ("user", Some("users")),
            ("colour", None),
            ("x", None),
        ] {
            assert_eq!(nearest(word, known), meant, "{word}");
        }
    }
}
