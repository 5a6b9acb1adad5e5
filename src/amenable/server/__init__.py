"""The web server: people's accounts, labelling, chat, playground and runs. Never imports torch; a child process does."""
