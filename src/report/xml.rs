//! XML as reports need it: elements, attributes, text, and no character that XML forbids.

use std::fmt::Write as _;

/// A document that grows element by element.
#[derive(Debug)]
pub(super) struct Xml {
    out: String,
    open: Vec<&'static str>,
    /// Whether the element that was opened last is still empty.
    is_empty: bool,
}

impl Xml {
    /// A document with its declaration.
    pub(super) fn new() -> Self {
        Self {
            out: "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".to_owned(),
            open: Vec::new(),
            is_empty: false,
        }
    }

    /// Opens an element.
    pub(super) fn start(&mut self, name: &'static str, attributes: &[(&str, &str)]) {
        self.tag(name, attributes, ">\n");
        self.open.push(name);
        self.is_empty = true;
    }

    /// Closes the element that was opened last.
    pub(super) fn end(&mut self) {
        let Some(name) = self.open.pop() else { return };
        if std::mem::take(&mut self.is_empty) {
            self.out.truncate(self.out.len() - ">\n".len());
            self.out.push_str("/>\n");
        } else {
            self.indent();
            let _ = writeln!(self.out, "</{name}>");
        }
    }

    /// An element without content.
    pub(super) fn empty(&mut self, name: &'static str, attributes: &[(&str, &str)]) {
        self.tag(name, attributes, "/>\n");
    }

    /// An element with text and nothing else. The text is the reader's to the last blank.
    pub(super) fn text(&mut self, name: &'static str, attributes: &[(&str, &str)], text: &str) {
        self.tag(name, attributes, ">");
        escape(&mut self.out, text, false);
        let _ = writeln!(self.out, "</{name}>");
    }

    /// The whole document; what is still open is closed.
    pub(super) fn finish(mut self) -> String {
        while !self.open.is_empty() {
            self.end();
        }
        self.out
    }

    fn tag(&mut self, name: &str, attributes: &[(&str, &str)], end: &str) {
        self.is_empty = false;
        self.indent();
        let _ = write!(self.out, "<{name}");
        for (name, value) in attributes {
            let _ = write!(self.out, " {name}=\"");
            escape(&mut self.out, value, true);
            self.out.push('"');
        }
        self.out.push_str(end);
    }

    fn indent(&mut self) {
        self.out.push_str(&"  ".repeat(self.open.len()));
    }
}

/// Characters that XML 1.0 has no place for, in whatever spelling, become U+FFFD.
fn escape(out: &mut String, text: &str, in_attribute: bool) {
    for char in text.chars() {
        match char {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            // `]]>` is not allowed in text.
            '>' => out.push_str("&gt;"),
            '"' if in_attribute => out.push_str("&quot;"),
            // Readers make blanks of these in attributes, and a newline of a carriage return.
            '\n' | '\t' if in_attribute => {
                let _ = write!(out, "&#{};", u32::from(char));
            }
            '\r' => out.push_str("&#13;"),
            '\n' | '\t' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'.. => out.push(char),
            _ => out.push(char::REPLACEMENT_CHARACTER),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_indented_and_closed() {
        let mut xml = Xml::new();
        xml.start("a", &[("x", "1")]);
        xml.empty("b", &[]);
        xml.start("c", &[]);
        xml.text("d", &[("y", "2")], " t\n");
        xml.start("e", &[]);
        xml.end();
        insta::assert_snapshot!(xml.finish(), @r#"
        <?xml version="1.0" encoding="UTF-8"?>
        <a x="1">
          <b/>
          <c>
            <d y="2"> t
        </d>
            <e/>
          </c>
        </a>
        "#);
    }

    #[test]
    fn nothing_in_a_text_is_markup_and_forbidden_characters_are_replaced() {
        let escaped = |text: &str, in_attribute| {
            let mut out = String::new();
            escape(&mut out, text, in_attribute);
            out
        };
        assert_eq!(
            escaped("<a href=\"x\">&amp;]]>", false),
            "&lt;a href=\"x\"&gt;&amp;amp;]]&gt;"
        );
        assert_eq!(escaped("\"a\"\r\n\tb", true), "&quot;a&quot;&#13;&#10;&#9;b");
        assert_eq!(escaped("a\r\n\tb", false), "a&#13;\n\tb");
        assert_eq!(
            escaped("\0\u{8}\u{1b}\u{fffe}\u{ffff}é𝄞", false),
            "\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}é𝄞"
        );
    }
}
