//! Services written down for another daemon: one file each, as avahi reads them. The daemon finds
//! names and interfaces; we only say what there is. Pure, but for two calls at the end.

use super::claim::Service;
use std::io;
use std::path::{Path, PathBuf};

/// The file's content.
pub(super) fn service_file(service: &Service) -> String {
    let mut out = String::from(
        "<?xml version=\"1.0\" standalone='no'?>\n\
         <!DOCTYPE service-group SYSTEM \"avahi-service.dtd\">\n\
         <!-- written by streamd, which takes it away again -->\n\
         <service-group>\n  <name>",
    );
    escape(&mut out, &service.name);
    out.push_str("</name>\n  <service>\n    <type>");
    escape(&mut out, &service.kind);
    out.push_str("</type>\n    <port>");
    out.push_str(&service.port.to_string());
    out.push_str("</port>\n");
    for entry in &service.txt {
        out.push_str("    <txt-record>");
        escape(&mut out, entry);
        out.push_str("</txt-record>\n");
    }
    out.push_str("  </service>\n</service-group>\n");
    out
}

/// As text of an element. What XML cannot hold at all is left out.
fn escape(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => {}
            c => out.push(c),
        }
    }
}

/// Where a service's file is: of the kind and the number it was given here.
pub(super) fn path(directory: &Path, service: &Service, id: u32) -> PathBuf {
    let kind: String = service.kind.chars().filter(char::is_ascii_alphanumeric).collect();
    directory.join(["streamd-", &kind, "-", &id.to_string(), ".service"].concat())
}

/// Writes it so that the daemon sees the old file or the new one, never a part.
pub(super) fn write(path: &Path, text: &str) -> io::Result<()> {
    // the daemon reads what ends in .service
    let draft = path.with_extension("new");
    std::fs::write(&draft, text).and_then(|()| std::fs::rename(&draft, path)).inspect_err(|_| {
        let _ = std::fs::remove_file(&draft);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_signs_of_xml_stays_a_name() {
        let service = Service {
            kind: "_hap._tcp".into(),
            name: "Tür & <Hof> \"1\"\u{1b}".into(),
            port: 51827,
            txt: vec!["md=a<b".into(), "c#=1".into()],
        };
        let text = service_file(&service);
        assert!(text.contains("<name>Tür &amp; &lt;Hof&gt; \"1\"</name>"), "{text}");
        assert!(text.contains("<type>_hap._tcp</type>\n    <port>51827</port>"), "{text}");
        assert!(text.contains("<txt-record>md=a&lt;b</txt-record>\n    <txt-record>c#=1</txt-record>"));
        let evil = Service { kind: "_../../etc._tcp".into(), ..service };
        assert_eq!(path(Path::new("/d"), &evil, 3), Path::new("/d/streamd-etctcp-3.service"));
    }
}
