"""The rules of Holdfast: pure, without IO; time is passed in."""
