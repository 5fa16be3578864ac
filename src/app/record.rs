//! Recording to a card as part of the program: which streams, where, and what they hear of what happens; and
//! `/api/record`, by which films are listed and fetched.

use super::api::Routes;
use super::config::Config;
use super::program::{Program, Service};
use crate::motion::{Want, What};
use crate::net::http::{Access, Method, Request, Response};
use crate::net::json::Writer;
use crate::net::users::Role;
use crate::record::{Recorder, Settings, list, open, read};
use async_task::Task;
use std::cell::RefCell;
use std::rc::{Rc, Weak};

type Recorders = Rc<RefCell<Vec<Rc<Recorder>>>>;

/// Everything of it that runs.
#[derive(Default)]
pub struct Record {
    recorders: Recorders,
    /// Their streams are looked at.
    wants: RefCell<Vec<Want>>,
    program: RefCell<Weak<Program>>,
    ear: RefCell<Option<Task<()>>>,
    routes: RefCell<Option<Routes>>,
}

impl Service for Record {
    fn name(&self) -> &'static str {
        "record"
    }

    fn start(&self, program: &Rc<Program>, config: &Config) {
        self.stop();
        program.forget_faults("record");
        if !config.starts("record") || config.record.is_empty() {
            return;
        }
        if let Some(why) = config.fault("record") {
            program.fault("record", why.to_owned());
            return;
        }
        self.program.replace(Rc::downgrade(program));
        for (stream, row) in &config.record {
            if row.folder.as_os_str().is_empty() {
                program.fault("record", format!("record.{stream}.folder: expected a folder"));
                continue;
            }
            let settings = Settings {
                folder: row.folder.clone(),
                budget: u64::from(row.budget) << 20,
                before: row.before,
                after: row.after,
                longest: row.longest,
            };
            let recorder = Recorder::start(&program.hall, stream, settings);
            recorder.motion(program.bus.is_on(stream, What::Motion(true)));
            self.recorders.borrow_mut().push(recorder);
            self.wants.borrow_mut().push(program.bus.want(stream));
        }
        self.routes.replace(Some(serve(program, &self.recorders)));
        let (all, ear) = (self.recorders.clone(), program.bus.listen());
        self.ear.replace(Some(program.executor.spawn(async move {
            loop {
                let event = ear.next().await;
                let What::Motion(on) = event.what else { continue };
                let theirs = |r: &&Rc<Recorder>| event.stream.is_empty() || *r.stream() == *event.stream;
                all.borrow().iter().filter(theirs).for_each(|r| r.motion(on));
            }
        })));
    }

    fn set(&self, config: &Config) {
        let _ = config;
    }

    fn stop(&self) {
        let ended = (self.ear.take(), self.routes.take(), self.recorders.take(), self.program.take());
        drop((ended, self.wants.take()));
    }

    fn is_on(&self) -> bool {
        self.program.borrow().strong_count() > 0
    }

    fn serves(&self) -> bool {
        !self.recorders.borrow().is_empty()
    }
}

/// The recorder that is asked for, if the asker may see its stream.
fn one(all: &Recorders, r: &Request) -> Result<Rc<Recorder>, Response> {
    let Some(src) = r.query("src") else {
        return Err(Response::error(400, "src: expected the stream's name"));
    };
    if let Some(refusal) = r.refuse(Role::View, src) {
        return Err(refusal);
    }
    let found = all.borrow().iter().find(|recorder| recorder.stream() == src).cloned();
    found.ok_or_else(|| Response::error(404, &format!("{src:?} is not recorded")))
}

fn serve(program: &Rc<Program>, recorders: &Recorders) -> Routes {
    let routes = Routes::new(program);
    let all = recorders.clone();
    routes.on(Method::Get, "/api/record", Access::Role(Role::View), move |program, r| {
        let all = all.clone();
        async move {
            let recorder = match one(&all, &r) {
                Ok(recorder) => recorder,
                Err(refusal) => return refusal,
            };
            let films = match list(&program.slow, recorder.folder()).await {
                Ok(films) => films,
                Err(e) => return Response::error(500, &e.to_string()),
            };
            let (stats, mut w) = (recorder.stats(), Writer::new());
            w.begin_object().key("films").begin_array();
            for film in films {
                w.begin_object().key("name").string(&film.name).key("bytes").uint(film.bytes).end_object();
            }
            w.end_array();
            w.key("begun")
                .uint(stats.films)
                .key("written")
                .uint(stats.bytes)
                .key("broken")
                .uint(stats.broken);
            if let Some(trouble) = recorder.trouble() {
                w.key("trouble").string(&trouble);
            }
            w.end_object();
            Response::json(w.finish())
        }
    });
    let all = recorders.clone();
    routes.on(Method::Get, "/api/record/film", Access::Role(Role::View), move |program, r| {
        let all = all.clone();
        async move {
            let recorder = match one(&all, &r) {
                Ok(recorder) => recorder,
                Err(refusal) => return refusal,
            };
            let Some(name) = r.query("name") else {
                return Response::error(400, "name: expected a film's name");
            };
            let slow = program.slow.clone();
            match open(&slow, recorder.folder(), name.to_owned()).await {
                Ok((mut file, _)) => Response::stream("video/mp4", move |mut body| async move {
                    let mut buffer = Vec::new();
                    loop {
                        (file, buffer) = read(&slow, file, buffer).await?;
                        if buffer.is_empty() {
                            return Ok(());
                        }
                        body.write(&buffer).await?;
                    }
                }),
                Err(_) => Response::error(404, &format!("there is no film {name:?}")),
            }
        }
    });
    routes
}
