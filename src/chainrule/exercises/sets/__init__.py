"""A module of exercises for each lesson, with its name. lessons/README.md describes how to write one."""
