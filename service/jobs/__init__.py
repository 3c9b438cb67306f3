"""Jobs: audio that is taken in now and transcribed later, whatever happens to the process in between.

job        what a client sees of one           store      rows that clients make, read and erase
database   SQLite or PostgreSQL                leases     who works on what, and since when
schema     its tables                          ending     the one way in which a job ends
migrations how older ones become these         worker     takes jobs and transcribes them
audio_files the audio on disk                  outbox     webhook messages and their attempts
retention  what is erased, and when            webhooks   sends them, with signing and outbound
jobs       all of it in one process
"""
