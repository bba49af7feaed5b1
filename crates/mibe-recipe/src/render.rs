//! The texts that an image gets of its recipe: `/etc/motd` and `/etc/product`.

use crate::recipe::Recipe;

impl Recipe {
    /// `/etc/motd`: the repository's `motd` with `%name%`, `%version%`, `%homepage%` and `%brand%` filled in.
    ///
    /// Every other `%PLACEHOLDER%` is filled by the image itself at its first boot and stays; so does every other
    /// byte, whether it is UTF-8 or not. `None` when the repository has no `motd`.
    pub fn motd_text(&self) -> Option<Vec<u8>> {
        let text = |value: &Option<crate::Located<String>>| {
            value
                .as_ref()
                .map(|value| value.value.clone())
                .unwrap_or_default()
        };
        let fields = [
            ("%name%", self.name.value.clone()),
            ("%version%", self.version.value.clone()),
            ("%homepage%", text(&self.homepage)),
            ("%brand%", text(&self.brand)),
        ];
        self.motd.as_deref().map(|motd| fill(motd, &fields))
    }

    /// `/etc/product`, five lines that SmartOS's tools and people read. `base` is the base image's name and version
    /// ("debian 12"), where known.
    pub fn product_text(&self, base: Option<&str>) -> String {
        let text = |value: &Option<crate::Located<String>>| {
            value
                .as_ref()
                .map(|value| value.value.clone())
                .unwrap_or_default()
        };
        let lines = [
            (
                "Name",
                format!("{} {}", text(&self.organization), text(&self.brand)),
            ),
            (
                "Image",
                format!("{} {}", self.name.value, self.version.value),
            ),
            ("Base Image", base.unwrap_or_default().to_owned()),
            ("Documentation", text(&self.homepage)),
            ("Description", text(&self.description)),
        ];
        let mut product = String::new();
        for (label, value) in lines {
            product.push_str(label);
            product.push(':');
            let value = value.trim();
            if !value.is_empty() {
                product.push(' ');
                // One line each, whatever the base is called.
                product.extend(value.chars().map(|c| if c.is_control() { ' ' } else { c }));
            }
            product.push('\n');
        }
        product
    }
}

/// One pass, so that a value that looks like a placeholder is not filled in its turn.
fn fill(text: &[u8], fields: &[(&str, String)]) -> Vec<u8> {
    let mut filled = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        let field = (first == b'%')
            .then(|| {
                fields
                    .iter()
                    .find(|(mark, _)| rest.starts_with(mark.as_bytes()))
            })
            .flatten();
        if let Some((mark, value)) = field {
            filled.extend_from_slice(value.as_bytes());
            rest = &rest[mark.len()..];
        } else {
            filled.push(first);
            rest = after;
        }
    }
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_filled_and_nothing_else_is_touched() {
        let fields = [
            ("%name%", "a&b\\1%version%".to_owned()),
            ("%version%", "1.0".to_owned()),
        ];
        for (motd, expected) in [
            (&b"%name% %version%"[..], &b"a&b\\1%version% 1.0"[..]),
            (b"%HOSTNAME% 100% %nam%", b"%HOSTNAME% 100% %nam%"),
            (b"%%version%%", b"%1.0%"),
            (b"", b""),
            ("╭─ \u{ff} \n ".as_bytes(), "╭─ \u{ff} \n ".as_bytes()),
            (b"\xff\x00\r\n%", b"\xff\x00\r\n%"),
        ] {
            assert_eq!(fill(motd, &fields), expected);
        }
    }
}
