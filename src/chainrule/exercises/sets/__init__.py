"""The exercises: a module for each lesson, named by the lesson's key. lessons/README.md describes how to write one."""
