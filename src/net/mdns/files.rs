//! Services written down for another daemon: one file each, as avahi reads them. The daemon finds
//! names and interfaces; we only say what there is. Pure, but for two calls at the end.

use super::claim::Service;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

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
///
/// avahi looks at whole seconds of a file's time, and reads a file again only when they have changed:
/// a file that is changed twice within one second is dated a second on.
pub(super) fn write(path: &Path, text: &str) -> io::Result<()> {
    // the daemon reads what ends in .service
    let draft = path.with_extension("new");
    let before = std::fs::metadata(path).and_then(|old| old.modified());
    let put = || {
        let mut file = File::create(&draft)?;
        file.write_all(text.as_bytes())?;
        if let Ok(before) = before {
            let next = UNIX_EPOCH + Duration::from_secs(seconds(before) + 1);
            if file.metadata()?.modified()? < next {
                // a disk that keeps no such times loses a change now and then, and no more
                let _ = file.set_modified(next);
            }
        }
        std::fs::rename(&draft, path)
    };
    put().inspect_err(|_| {
        let _ = std::fs::remove_file(&draft);
    })
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
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

    #[test]
    fn each_change_has_a_second_of_its_own() {
        let folder = std::env::temp_dir().join(format!("streamd-mdns-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        let path = folder.join("a.service");
        let mut last = 0;
        for text in ["one", "two", "three"] {
            write(&path, text).unwrap();
            let now = seconds(std::fs::metadata(&path).unwrap().modified().unwrap());
            assert!(now > last, "{text}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
            last = now;
        }
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
