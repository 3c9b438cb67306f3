--
-- PostgreSQL database dump
--


-- Dumped from database version 15.18 (Debian 15.18-0+deb12u1)
-- Dumped by pg_dump version 15.18 (Debian 15.18-0+deb12u1)

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

--
-- Name: public; Type: SCHEMA; Schema: -; Owner: -
--

-- *not* creating schema, since initdb creates it


--
-- Name: SCHEMA public; Type: COMMENT; Schema: -; Owner: -
--

COMMENT ON SCHEMA public IS '';


SET default_tablespace = '';

SET default_table_access_method = heap;

--
-- Name: deliveries; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.deliveries (
    id text NOT NULL,
    job_id text NOT NULL,
    type text NOT NULL,
    url text NOT NULL,
    body text NOT NULL,
    status text NOT NULL,
    tries bigint NOT NULL,
    created_at double precision NOT NULL,
    next_at double precision NOT NULL
);


--
-- Name: delivery_attempts; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.delivery_attempts (
    delivery_id text NOT NULL,
    number bigint NOT NULL,
    at double precision NOT NULL,
    duration_s double precision,
    status_code bigint,
    error text
);


--
-- Name: jobs; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.jobs (
    id text NOT NULL,
    owner text NOT NULL,
    status text NOT NULL,
    progress double precision NOT NULL,
    attempts bigint NOT NULL,
    created_at double precision NOT NULL,
    started_at double precision,
    finished_at double precision,
    not_before double precision NOT NULL,
    options text NOT NULL,
    request_hash text NOT NULL,
    idempotency_key text,
    webhook_url text,
    error text,
    lease_token text,
    lease_until double precision
);


--
-- Name: jobs_version; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.jobs_version (
    version bigint NOT NULL
);


--
-- Name: results; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.results (
    job_id text NOT NULL,
    transcript text NOT NULL
);


--
-- Data for Name: deliveries; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.deliveries VALUES ('msg_0508f04eb7a4759b2bbd67f2aec29e79', 'job_01a1fd9ee81fbba780157022fc2f4650', 'transcription.job.completed', 'https://receiver.invalid/cepstra', '{"type":"transcription.job.completed","timestamp":"2026-11-21T10:20:16.419Z","data":{"id":"job_01a1fd9ee81fbba780157022fc2f4650","object":"transcription.job","status":"completed","progress":1.0,"attempts":1,"created_at":1795256414,"started_at":1795256414,"finished_at":1795256416,"error":null}}', 'pending', 0, 1795256416.419919, 1795256416.419919);


--
-- Data for Name: delivery_attempts; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: jobs; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.jobs VALUES ('job_01a1fd9ee81fbba780157022fc2f4650', 'ann', 'completed', 1, 1, 1795256414.078908, 1795256414.484595, 1795256416.419919, 1795256414.078908, '{"model": "default", "response_format": "srt"}', 'd21d62da253c5232b506b4f4b8f57680944b2813b34f70e7251044a8493a3afe', 'first', 'https://receiver.invalid/cepstra', NULL, NULL, NULL);
INSERT INTO public.jobs VALUES ('job_01a1fd9ef095a9824b78fc547073ad78', 'ann', 'failed', 0, 1, 1795256414.580472, 1795256416.748468, 1795256416.992712, 1795256414.580472, '{"model": "default", "response_format": "srt"}', '3fc1c193f86fdc009be8cd8950ef83da708ae42c75d2b72d24bf07712a0a9c8a', NULL, NULL, '{"message": "not audio that can be read (it begins with b''no audio''); send wav, flac, mp3, ogg, opus, webm, m4a or aac", "type": "invalid_request_error", "param": "file", "code": "unsupported_audio"}', NULL, NULL);
INSERT INTO public.jobs VALUES ('job_01a1fd9efff39baf1a02989b57c57e41', 'ann', 'cancelled', 0, 0, 1795256418.956698, NULL, 1795256420.100547, 1795256418.956698, '{"model": "default"}', 'e255be22746ec14d05f96b9e5a26c4d1770bd06a93a20ca40fd8ddf2f548d0aa', NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.jobs VALUES ('job_01a1fd9f09e445e51b8d44dd69e2738c', 'ann', 'queued', 0, 0, 1795256420.880662, NULL, NULL, 1795256420.880662, '{"model": "default", "response_format": "srt"}', 'e255be22746ec14d05f96b9e5a26c4d1770bd06a93a20ca40fd8ddf2f548d0aa', NULL, NULL, NULL, NULL, NULL);


--
-- Data for Name: jobs_version; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.jobs_version VALUES (1);


--
-- Data for Name: results; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.results VALUES ('job_01a1fd9ee81fbba780157022fc2f4650', '{"text":"xk k knsyld kdxdxdlxkdxkdxlxkxdkxn dl xcdxdls","segments":[{"id":0,"start_s":0.0,"end_s":2.8,"text":"xk k knsyld kdxdxdlxkdxkdxlxkxdkxn dl xcdxdls","words":[{"text":"xk","start_s":0.0,"end_s":0.2,"confidence":0.6311010144575596},{"text":"k","start_s":0.24,"end_s":0.28,"confidence":0.936412825200834},{"text":"knsyld","start_s":0.36,"end_s":0.68,"confidence":0.6393374664640816},{"text":"kdxdxdlxkdxkdxlxkxdkxn","start_s":0.72,"end_s":2.32,"confidence":0.6691805759334398},{"text":"dl","start_s":2.36,"end_s":2.44,"confidence":0.8032346585605866},{"text":"xcdxdls","start_s":2.48,"end_s":2.8,"confidence":0.7522307455891892}],"tokens":[{"text":"x","id":26,"start_s":0.0,"logprob":-0.42517536878585815},{"text":"k","id":13,"start_s":0.08,"logprob":-0.4954033171137174},{"text":" ","id":1,"start_s":0.2,"logprob":-0.4312880039215088},{"text":"k","id":13,"start_s":0.24,"logprob":-0.06569884717464447},{"text":" ","id":1,"start_s":0.28,"logprob":-0.3166361041367054},{"text":"k","id":13,"start_s":0.36,"logprob":-0.5135375261306763},{"text":"n","id":16,"start_s":0.4,"logprob":-0.27327966690063477},{"text":"s","id":21,"start_s":0.44,"logprob":-0.17355024442076683},{"text":"y","id":27,"start_s":0.52,"logprob":-0.8492825031280518},{"text":"l","id":14,"start_s":0.56,"logprob":-0.7369635701179504},{"text":"d","id":6,"start_s":0.6,"logprob":-0.13732357416301966},{"text":" ","id":1,"start_s":0.68,"logprob":-0.29166528582572937},{"text":"k","id":13,"start_s":0.72,"logprob":-0.3364881422991554},{"text":"d","id":6,"start_s":0.96,"logprob":-0.060884320798019566},{"text":"x","id":26,"start_s":1.08,"logprob":-0.08847066387534142},{"text":"d","id":6,"start_s":1.16,"logprob":-0.22857113182544708},{"text":"x","id":26,"start_s":1.2,"logprob":-0.7051803370316824},{"text":"d","id":6,"start_s":1.32,"logprob":-1.1639279127120972},{"text":"l","id":14,"start_s":1.36,"logprob":-0.42252954840660095},{"text":"x","id":26,"start_s":1.4000000000000001,"logprob":-0.023241719463840127},{"text":"k","id":13,"start_s":1.48,"logprob":-0.03192060813307762},{"text":"d","id":6,"start_s":1.52,"logprob":-0.7291578054428101},{"text":"x","id":26,"start_s":1.56,"logprob":-0.2060561476797981},{"text":"k","id":13,"start_s":1.68,"logprob":-0.6768738031387329},{"text":"d","id":6,"start_s":1.72,"logprob":-0.2725693862885237},{"text":"x","id":26,"start_s":1.8,"logprob":-0.410518953576684},{"text":"l","id":14,"start_s":1.8800000000000001,"logprob":-0.5880517363548279},{"text":"x","id":26,"start_s":1.92,"logprob":-0.6033456772565842},{"text":"k","id":13,"start_s":2.0,"logprob":-1.0046840906143188},{"text":"x","id":26,"start_s":2.04,"logprob":-0.3021997809410095},{"text":"d","id":6,"start_s":2.08,"logprob":-0.04716562479734421},{"text":"k","id":13,"start_s":2.12,"logprob":-0.28526296839118004},{"text":"x","id":26,"start_s":2.2,"logprob":-0.0017018134240061045},{"text":"n","id":16,"start_s":2.24,"logprob":-0.6486272215843201},{"text":" ","id":1,"start_s":2.32,"logprob":-0.11372242867946625},{"text":"d","id":6,"start_s":2.36,"logprob":-0.17773304879665375},{"text":"l","id":14,"start_s":2.4,"logprob":-0.2604837119579315},{"text":" ","id":1,"start_s":2.44,"logprob":-0.5097370147705078},{"text":"x","id":26,"start_s":2.48,"logprob":-0.04806949570775032},{"text":"c","id":5,"start_s":2.52,"logprob":-0.1323118507862091},{"text":"d","id":6,"start_s":2.56,"logprob":-0.5983086228281991},{"text":"x","id":26,"start_s":2.64,"logprob":-0.0007166677969507873},{"text":"d","id":6,"start_s":2.68,"logprob":-0.00015877417172305286},{"text":"l","id":14,"start_s":2.72,"logprob":-0.7950637936592102},{"text":"s","id":21,"start_s":2.7600000000000002,"logprob":-0.41835591197013855}],"avg_logprob":-0.3689309939328756,"no_speech_prob":7.133547515911372e-7}],"duration_s":2.8,"language":"en"}');


--
-- Name: deliveries deliveries_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.deliveries
    ADD CONSTRAINT deliveries_pkey PRIMARY KEY (id);


--
-- Name: delivery_attempts delivery_attempts_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.delivery_attempts
    ADD CONSTRAINT delivery_attempts_pkey PRIMARY KEY (delivery_id, number);


--
-- Name: jobs jobs_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.jobs
    ADD CONSTRAINT jobs_pkey PRIMARY KEY (id);


--
-- Name: results results_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.results
    ADD CONSTRAINT results_pkey PRIMARY KEY (job_id);


--
-- Name: deliveries_by_job; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX deliveries_by_job ON public.deliveries USING btree (job_id);


--
-- Name: deliveries_by_status; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX deliveries_by_status ON public.deliveries USING btree (status, next_at);


--
-- Name: jobs_by_key; Type: INDEX; Schema: public; Owner: -
--

CREATE UNIQUE INDEX jobs_by_key ON public.jobs USING btree (owner, idempotency_key);


--
-- Name: jobs_by_owner; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX jobs_by_owner ON public.jobs USING btree (owner, id);


--
-- Name: jobs_by_status; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX jobs_by_status ON public.jobs USING btree (status, id);


--
-- Name: deliveries deliveries_job_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.deliveries
    ADD CONSTRAINT deliveries_job_id_fkey FOREIGN KEY (job_id) REFERENCES public.jobs(id) ON DELETE CASCADE;


--
-- Name: delivery_attempts delivery_attempts_delivery_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.delivery_attempts
    ADD CONSTRAINT delivery_attempts_delivery_id_fkey FOREIGN KEY (delivery_id) REFERENCES public.deliveries(id) ON DELETE CASCADE;


--
-- Name: results results_job_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.results
    ADD CONSTRAINT results_job_id_fkey FOREIGN KEY (job_id) REFERENCES public.jobs(id) ON DELETE CASCADE;


--
-- Name: SCHEMA public; Type: ACL; Schema: -; Owner: -
--

REVOKE USAGE ON SCHEMA public FROM PUBLIC;


--
-- PostgreSQL database dump complete
--


