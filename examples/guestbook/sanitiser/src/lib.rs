//! Makes what a visitor wrote fit to be shown. It imports nothing at all.

wit_bindgen::generate!({ path: "../wit", world: "sanitiser-component" });

struct Sanitiser;

export!(Sanitiser);

impl exports::guestbook::app::sanitiser::Guest for Sanitiser {
    fn clean(text: String, at_most: u32) -> Result<String, String> {
        let text = text.trim();
        if text.is_empty() {
            return Err("please write something".into());
        }
        if text.chars().count() > at_most as usize {
            return Err(format!("please keep it below {at_most} characters"));
        }
        let mut clean = String::with_capacity(text.len());
        for c in text.chars() {
            match c {
                '&' => clean.push_str("&amp;"),
                '<' => clean.push_str("&lt;"),
                '>' => clean.push_str("&gt;"),
                '"' => clean.push_str("&quot;"),
                '\'' => clean.push_str("&#39;"),
                '\n' => clean.push_str("<br>"),
                c if c.is_control() => {}
                c => clean.push(c),
            }
        }
        Ok(clean)
    }
}
